//! The `plugin!` macro, and the module's entry point, which differs between toolchains.

use crate::background::Singleton;
use crate::config::ConfigError;
use crate::dispatch;
#[cfg(target_arch = "wasm32")]
use crate::last_words;
use crate::observer::{self, Observer};
use crate::plugin::{Configured, Factory, Http};
use crate::sys::{self, HostError, Status};
use crate::tcp::{self, Tcp};

/// Makes a type the plugin of this crate; the crate is a `cdylib` (and an `rlib`, for native tests).
///
/// * `plugin!(Hello)`: a plugin without configuration; `Hello` is a unit struct, or any constant expression of that name.
/// * `plugin!(Count { requests: Counter::new("requests") })`: the same for a struct with fields.
/// * `plugin!(Limit, config = Config)`: `Config` is read from JSON, and `Limit` made from it through
///   `TryFrom<Config>` (or `From`), whose error may name a place with [`ConfigError::at`]. A plugin that is its own
///   configuration names itself: `plugin!(Limit, config = Limit)`. Unknown fields are refused.
/// * `plugin!(Gate, config = [u8])`: for a configuration that is no JSON, or that is read by somebody else: `Gate` is made
///   from its bytes, through `TryFrom<&[u8]>`.
/// * `plugin!(Refresher: Singleton, ..)`, `plugin!(AllowList: Tcp, ..)`, `plugin!(Stats: Observer, ..)`: a plugin that is
///   not [`Http`], with or without a configuration.
/// * `plugin!(Guard: HttpAndTcp, ..)`: a plugin that is [`Http`] and [`Tcp`]; the place that the proxy has put it in decides
///   which of them it is. Its `on_log` hooks are not called.
/// * `plugin!("refresher" => Refresher: Singleton, config = Config; "" => AddToken)`: several plugins in one module, each
///   with the root id (`root_id` in Envoy, `pluginName` in Istio) that the proxy's configuration chooses it by. Any other
///   root id is refused, with a message that names these.
///
/// Where the type of the configuration has a `schemars::JsonSchema`, the build puts the schema into the finished module,
/// as a section that is never loaded. To keep it out of the module's code, derive it natively:
/// `#[cfg_attr(not(target_arch = "wasm32"), derive(schemars::JsonSchema))]`.
///
/// On Wasm it defines the entry point. Natively it defines `pub fn register()`, which a native host calls.
#[macro_export]
macro_rules! plugin {
    ($root_id:literal $($plugins:tt)*) => {
        $crate::__entry!();
        $crate::__exports!($($plugins)*);

        /// Makes this crate's plugins those of the current thread; a native host calls it.
        pub fn register() {
            $crate::__private::register(|configuration| $crate::__plugins!(configuration, [] $root_id $($plugins)*));
        }

        /// What a module of this crate says about itself; the build asks natively, no module carries it.
        #[doc(hidden)]
        #[cfg(not(target_arch = "wasm32"))]
        pub fn wasmplugin_description() -> ::std::string::String {
            let schema = $crate::__schemas!([] $root_id $($plugins)*);
            let unused = $crate::__unused_by_all!([] $root_id $($plugins)*);
            $crate::__private::description($crate::__about!(), schema, &unused, |configuration| {
                $crate::__plugins!(configuration, [] $root_id $($plugins)*)
            })
        }
    };
    ($($plugin:tt)*) => {
        $crate::__entry!();
        $crate::__exports!($($plugin)*);

        /// Makes this crate's plugin the one of the current thread; a native host calls it.
        pub fn register() {
            $crate::__private::register(__wasmplugin_configured);
        }

        // Expanded once, so that the compiler complains once.
        #[doc(hidden)]
        fn __wasmplugin_configured(
            configuration: &[u8],
        ) -> ::core::result::Result<$crate::__private::Configured, $crate::config::ConfigError> {
            ($crate::__factory!($($plugin)*))(configuration)
        }

        /// What a module of this crate says about itself; the build asks natively, no module carries it.
        #[doc(hidden)]
        #[cfg(not(target_arch = "wasm32"))]
        pub fn wasmplugin_description() -> ::std::string::String {
            let schema = $crate::__schema!($($plugin)*);
            let unused = $crate::__unused!($($plugin)*);
            $crate::__private::description($crate::__about!(), schema, unused, __wasmplugin_configured)
        }
    };
}

/// The schema of a plugin's configuration, if its type has one.
#[doc(hidden)]
#[macro_export]
macro_rules! __schema {
    ($plugin:ident $({$($fields:tt)*})? $(: $kind:ident)?) => {
        ::core::option::Option::Some($crate::config::NO_FIELDS.into())
    };
    ($plugin:ty $(: $kind:ident)?, config = [u8]) => {
        ::core::option::Option::None
    };
    ($plugin:ty $(: $kind:ident)?, config = $config:ty) => {{
        use $crate::__private::{WithSchema as _, WithoutSchema as _};

        // The first trait is found where the type has a schema, the second otherwise.
        (&$crate::__private::SchemaOf::<$config>::new()).schema()
    }};
}

/// The schemas of several plugins' configurations.
#[doc(hidden)]
#[macro_export]
macro_rules! __schemas {
    ([$($done:tt)*]) => {
        $crate::__private::schemas(&[$($done)*])
    };
    ([$($done:tt)*] $root_id:literal => $plugin:ident : $kind:ident, config = $config:ty $(; $($rest:tt)*)?) => {
        $crate::__schemas!(
            [$($done)* ($root_id, $crate::__schema!($plugin: $kind, config = $config)),] $($($rest)*)?
        )
    };
    ([$($done:tt)*] $root_id:literal => $plugin:ident, config = $config:ty $(; $($rest:tt)*)?) => {
        $crate::__schemas!([$($done)* ($root_id, $crate::__schema!($plugin, config = $config)),] $($($rest)*)?)
    };
    ([$($done:tt)*] $root_id:literal => $plugin:ident $({$($fields:tt)*})? $(: $kind:ident)? $(; $($rest:tt)*)?) => {
        $crate::__schemas!([$($done)* ($root_id, $crate::__schema!($plugin $({$($fields)*})?)),] $($($rest)*)?)
    };
}

/// The exports that a plugin does not need.
#[doc(hidden)]
#[macro_export]
macro_rules! __unused {
    ($plugin:ident {$($fields:tt)*}) => {
        $crate::__unused!($plugin, config = ())
    };
    ($plugin:ident) => {
        $crate::__unused!($plugin, config = ())
    };
    ($plugin:ty, config = $config:ty) => {{
        use $crate::__private::{ExportsOfHttp as _, ExportsOfOthers as _};

        // The first trait is found where the type is a plugin for HTTP, the second otherwise.
        (&$crate::__private::ExportsOf::<$plugin>::new()).unused()
    }};
    ($plugin:ident $({$($fields:tt)*})? : Observer $(, $($rest:tt)*)?) => {
        $crate::__private::UNUSED_BY_OBSERVERS
    };
    ($plugin:ident $({$($fields:tt)*})? : Singleton $(, $($rest:tt)*)?) => {
        $crate::__private::UNUSED_BUT_FOR_HTTP
    };
    ($plugin:ident $({$($fields:tt)*})? : Tcp $(, $($rest:tt)*)?) => {
        $crate::__private::UNUSED_BUT_FOR_HTTP
    };
    ($($other_kind:tt)*) => {
        &[]
    };
}

/// The exports that none of several plugins needs.
#[doc(hidden)]
#[macro_export]
macro_rules! __unused_by_all {
    ([$($done:tt)*]) => {
        $crate::__private::unused_by_all(&[$($done)*])
    };
    ([$($done:tt)*] $root_id:literal => $plugin:ident : $kind:ident, config = $config:ty $(; $($rest:tt)*)?) => {
        $crate::__unused_by_all!([$($done)* $crate::__unused!($plugin: $kind),] $($($rest)*)?)
    };
    ([$($done:tt)*] $root_id:literal => $plugin:ident, config = $config:ty $(; $($rest:tt)*)?) => {
        $crate::__unused_by_all!([$($done)* $crate::__unused!($plugin, config = $config),] $($($rest)*)?)
    };
    ([$($done:tt)*] $root_id:literal => $plugin:ident $({$($fields:tt)*})? $(: $kind:ident)? $(; $($rest:tt)*)?) => {
        $crate::__unused_by_all!([$($done)* $crate::__unused!($plugin $(: $kind)?),] $($($rest)*)?)
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

/// Splits the list of plugins at its semicolons.
#[doc(hidden)]
#[macro_export]
macro_rules! __plugins {
    ($configuration:ident, [$($done:tt)*]) => {
        $crate::__private::chosen(&[$($done)*], $configuration)
    };
    ($configuration:ident, [$($done:tt)*] $root_id:literal => $plugin:ident : $kind:ident, config = $config:ty $(; $($rest:tt)*)?) => {
        $crate::__plugins!(
            $configuration,
            [$($done)* ($root_id, $crate::__factory!($plugin: $kind, config = $config)),] $($($rest)*)?
        )
    };
    ($configuration:ident, [$($done:tt)*] $root_id:literal => $plugin:ident, config = $config:ty $(; $($rest:tt)*)?) => {
        $crate::__plugins!(
            $configuration,
            [$($done)* ($root_id, $crate::__factory!($plugin, config = $config)),] $($($rest)*)?
        )
    };
    ($configuration:ident, [$($done:tt)*] $root_id:literal => $plugin:ident $({$($fields:tt)*})? $(: $kind:ident)? $(; $($rest:tt)*)?) => {
        $crate::__plugins!(
            $configuration,
            [$($done)* ($root_id, $crate::__factory!($plugin $({$($fields)*})? $(: $kind)?)),] $($($rest)*)?
        )
    };
}

/// The function that makes a plugin from its configuration.
#[doc(hidden)]
#[macro_export]
macro_rules! __factory {
    ($plugin:ident $({$($fields:tt)*})?) => {
        $crate::__factory!($plugin $({$($fields)*})?: Http)
    };
    ($plugin:ty, config = [u8]) => {
        $crate::__factory!($plugin: Http, config = [u8])
    };
    ($plugin:ty : $kind:ident, config = [u8]) => {
        |configuration| $crate::__private::parsed::<&[u8], $plugin>(configuration).map($crate::__kind!($kind))
    };
    ($plugin:ty, config = $config:ty) => {
        $crate::__factory!($plugin: Http, config = $config)
    };
    ($plugin:ident $({$($fields:tt)*})? : $kind:ident) => {
        |configuration| {
            $crate::config::none(configuration).map(|()| $crate::__kind!($kind)($plugin $({$($fields)*})?))
        }
    };
    ($plugin:ty : $kind:ident, config = $config:ty) => {
        |configuration| {
            $crate::config::json::<$config>(configuration)
                .and_then($crate::__private::parsed::<$config, $plugin>)
                .map($crate::__kind!($kind))
        }
    };
}

/// What puts a plugin of a kind behind the dispatcher.
#[doc(hidden)]
#[macro_export]
macro_rules! __kind {
    (Http) => {
        $crate::__private::http
    };
    (Singleton) => {
        $crate::__private::singleton
    };
    (Tcp) => {
        $crate::__private::tcp_plugin
    };
    (HttpAndTcp) => {
        $crate::__private::http_and_tcp_plugin
    };
    (Observer) => {
        $crate::__private::observer
    };
    ($kind:ident) => {
        compile_error!(concat!(
            "there is no kind of plugin `",
            stringify!($kind),
            "`; known are `Http`, `HttpAndTcp`, `Observer`, `Singleton` and `Tcp`"
        ))
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

/// The one callback about TCP that an observer needs: it sees the beginning, and the end in the log.
#[doc(hidden)]
#[macro_export]
macro_rules! __observer_exports {
    () => {
        #[cfg(target_arch = "wasm32")]
        mod __observer_exports {
            #[unsafe(no_mangle)]
            extern "C" fn proxy_on_new_connection(context: u32) -> u32 {
                $crate::__private::tcp::new_connection(context)
            }
        }
    };
}

/// The exports that the kinds of these plugins need.
#[doc(hidden)]
#[macro_export]
macro_rules! __exports {
    () => {};
    (: Tcp $($rest:tt)*) => {
        $crate::__tcp_exports!();
    };
    (: HttpAndTcp $($rest:tt)*) => {
        $crate::__tcp_exports!();
    };
    (: Observer $($rest:tt)*) => {
        $crate::__observer_exports!();
    };
    ($skipped:tt $($rest:tt)*) => {
        $crate::__exports!($($rest)*);
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
pub fn register(factory: Factory) {
    #[cfg(target_arch = "wasm32")]
    last_words::install();
    dispatch::register(factory);
}

/// Puts a plugin for HTTP behind the dispatcher.
pub fn http<P: Http>(plugin: P) -> Configured {
    Configured::new(plugin)
}

/// Puts a singleton behind the dispatcher.
pub fn singleton<P: Singleton>(plugin: P) -> Configured {
    Configured::singleton(plugin)
}

/// Puts a plugin for TCP behind the dispatcher.
pub fn tcp_plugin<P: Tcp>(plugin: P) -> Configured {
    tcp::configured(plugin)
}

/// Puts a plugin for HTTP and TCP behind the dispatcher.
pub fn http_and_tcp_plugin<P: Http + Tcp>(plugin: P) -> Configured {
    tcp::both_configured(plugin)
}

/// Puts an observer behind the dispatcher.
pub fn observer<P: Observer>(plugin: P) -> Configured {
    observer::configured(plugin)
}

/// Makes a plugin of its configuration.
pub fn parsed<C, P>(config: C) -> Result<P, ConfigError>
where
    P: TryFrom<C, Error: Into<ConfigError>>,
{
    P::try_from(config).map_err(Into::into)
}

/// Makes the plugin that the proxy's configuration chooses by its root id.
pub fn chosen(plugins: &[(&str, Factory)], configuration: &[u8]) -> Result<Configured, ConfigError> {
    let root_id = match sys::property("plugin_root_id") {
        Ok(root_id) => String::from_utf8_lossy(&root_id).into_owned(),
        Err(HostError { status: Status::NOT_FOUND, .. }) => String::new(),
        Err(error) => return Err(ConfigError::new(format!("the root id cannot be read: {error}"))),
    };
    match plugins.iter().find(|(known, _)| *known == root_id) {
        Some((_, factory)) => factory(configuration),
        None => {
            let known: Vec<String> = plugins.iter().map(|(known, _)| format!("`{known}`")).collect();
            let known = known.join(", ");
            Err(ConfigError::new(format!("no plugin of this module has the root id `{root_id}`; known are {known}")))
        }
    }
}
