//! A [`Testbed`] with a fault proxy between every two parts.

use baton_support::collector::Collector;
use baton_support::fault_proxy::FaultProxy;

use super::testbed::await_ticket;
use super::{Home, Testbed, relay};

/// Client, relay and exec-server, of which no two are connected directly.
pub(crate) struct Proxied {
    pub(crate) testbed: Testbed,
    /// Between client and relay.
    pub(crate) client_link: FaultProxy,
    /// Between exec-server and relay.
    pub(crate) server_link: FaultProxy,
    /// What all programs export to.
    pub(crate) collector: Collector,
}

impl Proxied {
    pub(crate) fn new() -> Self {
        let collector = Collector::start().unwrap();
        let home = Home::with_collector(Some(collector.endpoint()));
        home.allow("continue");
        let [client_link, server_link] = [(); 2].map(|()| FaultProxy::bind().unwrap());
        // An exec-server signs the relay's name as in its URL.
        let name = server_link.address().to_string();
        let (relay, relay_address) = relay(&home, "127.0.0.1:0", &["--authority", &name]);
        client_link.set_target(relay_address);
        server_link.set_target(relay_address);
        let mut exec_server = home.exec_server(&format!("http://{name}"));
        let mut ticket = await_ticket(&mut exec_server);
        ticket.relay_url = format!("http://{}", client_link.address());
        Self {
            testbed: Testbed {
                home,
                relay,
                relay_address,
                exec_server,
                ticket,
            },
            client_link,
            server_link,
            collector,
        }
    }
}
