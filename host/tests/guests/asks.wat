;; Asks the cluster `auth` (`GET /check`, at most 10 s) before it lets a request pass, whatever the answer is.
(module
  (import "env" "proxy_http_call" (func $http_call (param i32 i32 i32 i32 i32 i32 i32 i32 i32 i32) (result i32)))
  (import "env" "proxy_set_effective_context" (func $effective (param i32) (result i32)))
  (import "env" "proxy_continue_stream" (func $continue (param i32) (result i32)))
  (memory (export "memory") 2)
  (data (i32.const 16) "auth")
  (data (i32.const 32)
    "\03\00\00\00"
    "\07\00\00\00\03\00\00\00" "\05\00\00\00\06\00\00\00" "\0a\00\00\00\01\00\00\00"
    ":method\00GET\00" ":path\00/check\00" ":authority\00a\00")
  (func (export "proxy_abi_version_0_2_1"))
  (func (export "malloc") (param i32) (result i32) (i32.const 131000))

  ;; Tokens are small multiples of four: the context that waits for one is kept at 4096 + token.
  (func (export "proxy_on_request_headers") (param $context i32) (param i32 i32) (result i32)
    (if (call $http_call (i32.const 16) (i32.const 4) (i32.const 32) (i32.const 66)
          (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 10000) (i32.const 1024))
      (then (return (i32.const 0))))
    (i32.store (i32.add (i32.const 4096) (i32.load (i32.const 1024))) (local.get $context))
    (i32.const 1))

  (func (export "proxy_on_http_call_response") (param i32) (param $token i32) (param i32 i32 i32)
    (if (i32.eqz (call $effective (i32.load (i32.add (i32.const 4096) (local.get $token)))))
      (then (drop (call $continue (i32.const 0)))))))
