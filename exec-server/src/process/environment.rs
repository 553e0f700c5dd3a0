//! The child's environment: the server's or none, then the variables of `Start`, then the trace context and the
//! [`Mark`] of the process.
//!
//! The context is that of a stage of the process, so that spans of the child are children of its span. It overrides the
//! variables of `Start`, and no filter removes it. Trace variables in the server's own environment never reach the
//! child.
//!
//! The server's own variables are copied once, when it starts. The child of another user gets none of them, but those
//! of a login ([`Account::environment`]).

use std::os::unix::ffi::OsStringExt as _;
use std::sync::Arc;

use baton_spawn::{Environment, Variable};
use baton_trace::w3c::{BAGGAGE_VARIABLE, TRACEPARENT_VARIABLE, TRACESTATE_VARIABLE, TraceContext};

use super::telemetry;
use super::tree::Mark;
use crate::user::Account;

const TRACE: [&str; 3] = [TRACEPARENT_VARIABLE, TRACESTATE_VARIABLE, BAGGAGE_VARIABLE];

/// The prefix of the names of Baton's own variables.
const BATON: &[u8] = b"BATON_";

/// Whether it belongs to a trace context.
fn is_of_a_trace(variable: &Variable) -> bool {
    TRACE.iter().any(|name| name.as_bytes() == variable.name())
}

/// The variables that children inherit.
#[derive(Debug)]
pub(super) struct Inherited {
    variables: Arc<[Variable]>,
    /// The `host.id` of the children's spans; `None` if nothing is exported.
    host: Option<String>,
}

impl Inherited {
    /// This process's current environment, without the trace context of the server itself, without its [own
    /// telemetry](telemetry), and without Baton's configuration. The latter may hold a secret (`BATON_TICKET`), and a
    /// `baton` that a command runs must not use it.
    pub(super) fn capture() -> Self {
        let variables = std::env::vars_os()
            .filter_map(|(name, value)| Variable::new(&name.into_vec(), &value.into_vec()))
            .filter(|variable| !is_of_a_trace(variable) && !variable.name().starts_with(BATON));
        let (variables, host) = telemetry::for_children(variables.collect());
        Self {
            variables: variables.into(),
            host,
        }
    }

    /// The environment of one child; `account` is the user that it runs as, where it is not simply the server's own.
    pub(super) fn child(
        &self,
        changes: Changes,
        context: Option<&TraceContext>,
        account: Option<&Account>,
        mark: &Mark,
    ) -> Environment {
        let Changes { mut own, clear } = changes;
        telemetry::merge(&mut own, self.host.as_deref());
        if let Some(context) = context {
            own.retain(|variable| !is_of_a_trace(variable));
            let carrier = context.to_environment().into_iter();
            own.extend(carrier.filter_map(|(name, value)| Variable::new(name.as_bytes(), value?.as_bytes())));
        }
        // The last variable of a name counts.
        own.extend(mark.variable());
        let inherited = || match account {
            Some(account) => account.environment().into(),
            None => self.variables.clone(),
        };
        Environment::new((!clear).then(inherited), own)
    }
}

/// The changes that `Start` makes to the environment.
#[derive(Debug, Clone, Default)]
pub(super) struct Changes {
    /// Of several variables with the same name the last one counts.
    pub(super) own: Vec<Variable>,
    /// No variable is inherited.
    pub(super) clear: bool,
}

#[cfg(test)]
mod tests {
    use super::super::tree::{MARK_VARIABLE, Marks};
    use super::*;

    fn variable(name: &str, value: &str) -> Variable {
        Variable::new(name.as_bytes(), value.as_bytes()).unwrap()
    }

    fn inherited() -> Inherited {
        Inherited {
            variables: [variable("PATH", "/server"), variable("HOME", "/root")].into(),
            host: None,
        }
    }

    fn mark() -> Mark {
        Marks::new().next()
    }

    /// All but the mark, which is always there, once.
    fn texts(environment: &Environment) -> Vec<String> {
        let strings = environment.strings().into_iter();
        let mut texts: Vec<_> = strings.map(|text| text.to_str().unwrap().to_owned()).collect();
        let marks: Vec<_> = texts
            .extract_if(.., |text| text.starts_with(MARK_VARIABLE))
            .collect();
        assert_eq!(marks.len(), 1);
        texts.sort_unstable();
        texts
    }

    #[test]
    fn the_last_of_several_variables_counts_and_overrides_the_servers() {
        let inherited = inherited();
        let own = vec![variable("PATH", "/a"), variable("X", "="), variable("PATH", "/b")];
        let environment = inherited.child(Changes { own, clear: false }, None, None, &mark());
        assert_eq!(environment.value("PATH"), Some(&b"/b"[..]));
        assert_eq!(texts(&environment), ["HOME=/root", "PATH=/b", "X=="]);
    }

    #[test]
    fn a_cleared_environment_hides_the_servers() {
        let inherited = inherited();
        let changes = Changes {
            own: vec![variable("A", "")],
            clear: true,
        };
        let environment = inherited.child(changes, None, None, &mark());
        assert_eq!(environment.value("PATH"), None);
        assert_eq!(texts(&environment), ["A="]);
    }

    #[test]
    fn no_variable_of_another_trace_is_left_beside_the_context() {
        let own = || vec![variable("TRACEPARENT", "old"), variable("BAGGAGE", "old=1")];
        let inherited = inherited();
        let context = TraceContext::new_root(true);
        let changes = Changes {
            own: own(),
            clear: true,
        };
        let environment = inherited.child(changes, Some(&context), None, &mark());
        let traceparent = environment.value("TRACEPARENT").unwrap();
        assert_ne!(traceparent, b"old");
        assert_eq!(texts(&environment).len(), 1);
        // Without a context the client's variables are kept.
        let environment = inherited.child(
            Changes {
                own: own(),
                clear: true,
            },
            None,
            None,
            &mark(),
        );
        assert_eq!(texts(&environment), ["BAGGAGE=old=1", "TRACEPARENT=old"]);
    }

    #[test]
    fn a_client_does_not_choose_the_mark() {
        let changes = Changes {
            own: vec![variable(MARK_VARIABLE, "a client's")],
            clear: false,
        };
        let mark = mark();
        let environment = inherited().child(changes, None, None, &mark);
        let its = mark.variable().unwrap();
        assert_eq!(environment.value(MARK_VARIABLE), Some(its.value()));
        assert_eq!(texts(&environment), ["HOME=/root", "PATH=/server"]);
    }

    #[test]
    fn a_nul_is_refused_not_cut() {
        assert_eq!(Variable::new(b"A", b"b\0c"), None);
        assert_eq!(Variable::new(b"A\0", b""), None);
    }
}
