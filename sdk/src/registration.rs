//! The `plugin!` macro, and the module's entry point, which differs between toolchains.

use crate::config::ConfigError;
use crate::dispatch;
#[cfg(target_arch = "wasm32")]
use crate::last_words;
use crate::plugin::{Configured, Http};
use crate::tcp::{self, Tcp};

/// Makes a type the plugin of this crate; the crate is a `cdylib` (and an `rlib`, for native tests).
///
/// * `plugin!(Hello)`: a plugin without configuration; `Hello` is a unit struct, or any constant expression of that name.
/// * `plugin!(Count { requests: Counter::new("requests") })`: the same for a struct with fields.
/// * `plugin!(Limit, config = Config)`: `Config` is read from JSON, and `Limit` made from it through
///   `TryFrom<Config>` (or `From`), whose error may name a place with [`ConfigError::at`]. A plugin that is its own
///   configuration names itself: `plugin!(Limit, config = Limit)`. Unknown fields are refused.
///
/// A plugin for TCP says so: `plugin!(AllowList: Tcp)`, `plugin!(AllowList: Tcp, config = Config)`; what says nothing
/// is one for HTTP.
///
/// Where the type of the configuration has a `schemars::JsonSchema`, the build puts the schema into the finished module,
/// as a section that is never loaded. To keep it out of the module's code, derive it natively:
/// `#[cfg_attr(not(target_arch = "wasm32"), derive(schemars::JsonSchema))]`.
///
/// On Wasm it defines the entry point. Natively it defines `pub fn register()`, which a native host calls.
#[macro_export]
macro_rules! plugin {
    ($plugin:ident : Tcp) => {
        $crate::__tcp_exports!();
        $crate::__plain!(tcp_instance, $plugin);
    };
    ($plugin:ident : Tcp, config = $config:ty) => {
        $crate::__tcp_exports!();
        $crate::__configured!(tcp_instance, $plugin, $config);
    };
    ($plugin:ident $($fields:tt)?) => {
        $crate::__plain!(instance, $plugin $($fields)?);
    };
    ($plugin:ty, config = $config:ty) => {
        $crate::__configured!(instance, $plugin, $config);
    };
}

/// A plugin without configuration, put behind the dispatcher by the function of that name.
#[doc(hidden)]
#[macro_export]
macro_rules! __plain {
    ($instance:ident, $($plugin:tt)+) => {
        $crate::__entry!();

        /// Makes this crate's plugin the one of the current thread; a native host calls it.
        pub fn register() {
            $crate::__private::register(|configuration| {
                $crate::__private::$instance($crate::config::none(configuration).map(|()| $($plugin)+))
            });
        }

        /// What a module of this crate says about itself; the build asks natively, no module carries it.
        #[doc(hidden)]
        #[cfg(not(target_arch = "wasm32"))]
        pub fn wasmplugin_description() -> ::std::string::String {
            $crate::__private::description($crate::__about!(), ::core::option::Option::Some($crate::config::NO_FIELDS.into()), |configuration| {
                $crate::__private::$instance($crate::config::none(configuration).map(|()| $($plugin)+))
            })
        }
    };
}

/// A plugin with a configuration, put behind the dispatcher by the function of that name.
#[doc(hidden)]
#[macro_export]
macro_rules! __configured {
    ($instance:ident, $plugin:ty, $config:ty) => {
        $crate::__entry!();

        /// Makes this crate's plugin the one of the current thread; a native host calls it.
        pub fn register() {
            $crate::__private::register(|configuration| {
                $crate::__private::$instance(
                    $crate::config::json::<$config>(configuration)
                        .and_then($crate::__private::parsed::<$config, $plugin>),
                )
            });
        }

        /// What a module of this crate says about itself; the build asks natively, no module carries it.
        #[doc(hidden)]
        #[cfg(not(target_arch = "wasm32"))]
        pub fn wasmplugin_description() -> ::std::string::String {
            use $crate::__private::{WithSchema as _, WithoutSchema as _};

            // The first trait is found where the type has a schema, the second otherwise.
            let schema = (&$crate::__private::SchemaOf::<$config>::new()).schema();
            $crate::__private::description($crate::__about!(), schema, |configuration| {
                $crate::__private::$instance(
                    $crate::config::json::<$config>(configuration)
                        .and_then($crate::__private::parsed::<$config, $plugin>),
                )
            })
        }
    };
}

/// What cargo knows of the plugin's package.
#[doc(hidden)]
#[macro_export]
macro_rules! __about {
    () => {
        $crate::__private::About {
            name: env!("CARGO_PKG_NAME"),
            version: env!("CARGO_PKG_VERSION"),
            license: env!("CARGO_PKG_LICENSE"),
        }
    };
}

/// The callbacks about TCP: a module with a plugin for HTTP does not carry them.
#[doc(hidden)]
#[macro_export]
macro_rules! __tcp_exports {
    () => {
        #[cfg(target_arch = "wasm32")]
        mod __tcp_exports {
            #[unsafe(no_mangle)]
            extern "C" fn proxy_on_new_connection(context: u32) -> u32 {
                $crate::__private::tcp::new_connection(context)
            }

            #[unsafe(no_mangle)]
            extern "C" fn proxy_on_downstream_data(context: u32, size: usize, end: bool) -> u32 {
                $crate::__private::tcp::downstream_data(context, size, end)
            }

            #[unsafe(no_mangle)]
            extern "C" fn proxy_on_upstream_data(context: u32, size: usize, end: bool) -> u32 {
                $crate::__private::tcp::upstream_data(context, size, end)
            }
        }
    };
}

/// Rust before 1.100 leaves the entry point of a `cdylib` to us.
#[cfg(not(crt1_reactor))]
#[doc(hidden)]
#[macro_export]
macro_rules! __entry {
    () => {
        #[doc(hidden)]
        #[cfg(target_arch = "wasm32")]
        #[unsafe(no_mangle)]
        pub extern "C" fn _initialize() {
            $crate::sys::call_constructors();
            register();
        }
    };
}

/// Rust 1.100 and later link `crt1-reactor.o`, which defines `_initialize`; hosts call `__main_void` after it.
#[cfg(crt1_reactor)]
#[doc(hidden)]
#[macro_export]
macro_rules! __entry {
    () => {
        #[doc(hidden)]
        #[cfg(target_arch = "wasm32")]
        #[unsafe(no_mangle)]
        pub extern "C" fn __main_void() -> i32 {
            register();
            0
        }
    };
}

/// Takes the factory of this module's plugin.
pub fn register(factory: fn(&[u8]) -> Result<Configured, ConfigError>) {
    #[cfg(target_arch = "wasm32")]
    last_words::install();
    dispatch::register(factory);
}

/// Puts a plugin behind the dispatcher.
pub fn instance<P: Http>(plugin: Result<P, ConfigError>) -> Result<Configured, ConfigError> {
    plugin.map(Configured::new)
}

/// Puts a TCP plugin behind the dispatcher.
pub fn tcp_instance<P: Tcp>(plugin: Result<P, ConfigError>) -> Result<Configured, ConfigError> {
    plugin.map(tcp::configured)
}

/// Makes a plugin of its configuration.
pub fn parsed<C, P>(config: C) -> Result<P, ConfigError>
where
    P: TryFrom<C, Error: Into<ConfigError>>,
{
    P::try_from(config).map_err(Into::into)
}
