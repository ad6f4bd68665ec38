;; Tells the upstream in `x-client` and the client in `x-server` the URI name of the other one's certificate.
(module
  (import "env" "proxy_add_header_map_value" (func $add (param i32 i32 i32 i32 i32) (result i32)))
  (import "env" "proxy_get_property" (func $property (param i32 i32 i32 i32) (result i32)))
  (memory (export "memory") 2)
  (global $free (mut i32) (i32.const 65536))
  (data (i32.const 16) "connection\00uri_san_peer_certificate")
  (data (i32.const 64) "upstream\00uri_san_peer_certificate")
  (data (i32.const 112) "x-client")
  (data (i32.const 128) "x-server")

  (func (export "proxy_abi_version_0_2_1"))
  (func (export "malloc") (param $size i32) (result i32)
    (local $at i32)
    (local.set $at (global.get $free))
    (global.set $free (i32.add (global.get $free) (local.get $size)))
    (local.get $at))

  ;; Adds the property as a header to that map; nothing where there is none.
  (func $tell (param $map i32) (param $path i32) (param $length i32) (param $name i32)
    (i32.store (i32.const 200) (i32.const 0))
    (i32.store (i32.const 204) (i32.const 0))
    (drop (call $property (local.get $path) (local.get $length) (i32.const 200) (i32.const 204)))
    (if (i32.load (i32.const 204))
      (then
        (drop (call $add (local.get $map) (local.get $name) (i32.const 8) (i32.load (i32.const 200)) (i32.load (i32.const 204)))))))

  (func (export "proxy_on_request_headers") (param i32 i32 i32) (result i32)
    (call $tell (i32.const 0) (i32.const 16) (i32.const 35) (i32.const 112))
    (i32.const 0))

  (func (export "proxy_on_response_headers") (param i32 i32 i32) (result i32)
    (call $tell (i32.const 2) (i32.const 64) (i32.const 33) (i32.const 128))
    (i32.const 0)))
