//! What the builders of the sinks to brokers have in common.

/// Declares a builder: `setters` is the macro of its options' table. What it makes of them is its own `build`.
macro_rules! builder {
    ($(#[$meta:meta])* $name:ident of $options:ident, setters $setters:ident) => {
        $(#[$meta])*
        #[derive(Clone, Default)]
        pub struct $name {
            options: $options,
            environment: Option<$crate::sink::net::environment::Environment>,
        }

        impl $name {
            /// With these options, and nothing besides.
            pub(super) fn of_options(options: $options) -> Self {
                $name { options, environment: None }
            }

            $setters!();

            /// Sets an option from its text form.
            ///
            /// # Errors
            /// `InvalidArgument` for an unknown key or a value that it does not take.
            pub fn set(mut self, key: &str, value: &str) -> $crate::Result<Self> {
                self.options.set(key, value)?;
                Ok(self)
            }

            /// Reads these variables instead of the process's own.
            #[must_use]
            pub fn environment(mut self, environment: $crate::sink::net::environment::Environment) -> Self {
                self.environment = Some(environment);
                self
            }
        }

        impl std::fmt::Debug for $name {
            /// Shows no option: some are secret.
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.debug_struct(stringify!($name)).finish_non_exhaustive()
            }
        }
    };
}

pub(crate) use builder;
