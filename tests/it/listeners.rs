//! Two addresses: clients on one, operators on the other.

use std::net::TcpListener;

use fileproxy::path::listener::check_apart;

use crate::support::{
    client::Client,
    origin::{Origin, ok},
    program::Program,
    proxy::Proxy,
};

const ENDPOINTS: [&str; 5] = [
    "/health",
    "/health/live",
    "/health/ready",
    "/stats",
    "/admin/optimization",
];

/// An origin that says which path it was asked for.
fn echo() -> Origin {
    Origin::following(|connection| {
        while let Some(request) = connection.request() {
            let target = String::from_utf8(request.target()).unwrap();
            connection.send(ok(format!("the origin's {target}")));
        }
    })
}

fn apart() -> (Origin, Proxy) {
    let origin = echo();
    let proxy = Proxy::before(&origin, |s| {
        s.admin.listen = Some("127.0.0.1:0".parse().unwrap());
    });
    (origin, proxy)
}

#[test]
fn with_an_address_of_their_own_the_endpoints_are_there_and_nothing_else_is() {
    let (origin, proxy) = apart();
    for path in ENDPOINTS {
        let response = proxy.operator().get(path);
        assert_eq!(response.status, 200, "{path}: {response:?}");
        assert!(!response.text().contains("the origin's"), "{path}");
    }
    let response = proxy.operator().get("/film.mp4");
    assert_eq!(response.status, 404);
    assert!(
        response.problem()["detail"]
            .as_str()
            .unwrap()
            .contains("operators"),
        "{response:?}"
    );
    assert_eq!(origin.connections(), 0);
    proxy.set_level("low");
}

#[test]
fn on_the_public_address_the_origins_paths_of_those_names_then_pass_through() {
    let (_origin, proxy) = apart();
    for path in ENDPOINTS {
        assert_eq!(proxy.get(path).text(), format!("the origin's {path}"));
    }
}

#[test]
fn an_operator_gets_in_when_clients_have_taken_every_connection() {
    let origin = echo();
    let proxy = Proxy::before(&origin, |s| {
        s.admin.listen = Some("127.0.0.1:0".parse().unwrap());
        s.server.max_connections = 1;
    });
    let mut client = proxy.client();
    assert_eq!(client.get("/a").status, 200);
    assert_eq!(proxy.get("/a").status, 503);
    assert_eq!(proxy.operator().get("/health").status, 200);
    assert_eq!(client.get("/a").status, 200);
}

#[test]
fn without_an_address_of_their_own_the_endpoints_are_on_the_public_one() {
    let origin = echo();
    let proxy = Proxy::before(&origin, |_| {});
    for path in ENDPOINTS {
        assert!(!proxy.get(path).text().contains("the origin's"), "{path}");
    }
}

#[test]
fn every_address_serves_and_all_share_the_connections_to_the_origin() {
    let origin = echo();
    let proxy = Proxy::before(&origin, |s| {
        s.server.listen = "127.0.0.1:0,[::1]:0,127.0.0.1:0".parse().unwrap();
        s.server.workers = 1;
    });
    let addresses = proxy.addresses();
    assert_eq!(addresses.len(), 3);
    assert!(addresses[1].is_ipv6());
    for &address in addresses {
        assert_eq!(Client::to(address).get("/a").text(), "the origin's /a");
        assert_eq!(Client::to(address).get("/health").status, 200);
    }
    assert_eq!(origin.connections(), 1);
}

#[test]
fn all_of_ipv6_and_all_of_ipv4_with_one_port_stand_side_by_side() {
    let origin = echo();
    let free = TcpListener::bind("[::]:0").unwrap().local_addr().unwrap();
    let port = free.port();
    let proxy = Proxy::before(&origin, |s| {
        s.server.listen = format!("[::]:{port},0.0.0.0:{port}").parse().unwrap();
    });
    assert_eq!(proxy.addresses().len(), 2);
    for address in [format!("127.0.0.1:{port}"), format!("[::1]:{port}")] {
        let mut client = Client::to(address.parse().unwrap());
        assert_eq!(client.get("/a").text(), "the origin's /a");
    }
}

#[test]
fn by_default_the_endpoints_are_on_an_address_for_this_machine_too() {
    let origin = echo();
    let local = "127.0.0.1:0".parse().unwrap();
    let proxy = Proxy::before(&origin, |s| s.admin.local = Some(local));
    assert_ne!(proxy.operators(), proxy.address());
    for path in ENDPOINTS {
        assert_eq!(proxy.operator().get(path).status, 200, "{path}");
        assert!(!proxy.get(path).text().contains("the origin's"), "{path}");
    }
    assert_eq!(proxy.operator().get("/film.mp4").status, 404);

    // Without effect beside an address of their own.
    let own = Proxy::before(&origin, |s| {
        s.admin.listen = Some("127.0.0.1:0".parse().unwrap());
        s.admin.local = Some(proxy.operators());
    });
    assert_eq!(own.operator().get("/health").status, 200);
}

#[test]
fn an_address_for_this_machine_that_somebody_else_has_is_told_once_and_the_start_goes_on() {
    let origin = echo();
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let local = taken.local_addr().unwrap().to_string();
    let program = Program::local(&format!("http://{}", origin.address()), &local);
    let first = program.warned();
    let told: Vec<_> = first
        .iter()
        .filter(|line| line.to_string().contains(&local))
        .collect();
    assert_eq!(told.len(), 1, "{first:?}");
    assert!(told[0].to_string().contains("admin.local"), "{told:?}");
    assert_eq!(program.client().get("/a").text(), "the origin's /a");
    assert_eq!(program.client().get("/health").status, 200);
}

#[test]
fn where_the_public_address_covers_it_nothing_more_is_opened_for_this_machine() {
    let origin = echo();
    let free = TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap();
    let proxy = Proxy::before(&origin, |s| {
        s.server.listen = format!("0.0.0.0:{}", free.port()).parse().unwrap();
        s.admin.local = Some(free);
    });
    assert_eq!(proxy.operators(), proxy.address());
    assert_eq!(Client::to(free).get("/health").status, 200);
    assert_eq!(Client::to(free).get("/a").text(), "the origin's /a");
}

#[test]
fn an_address_of_their_own_is_another_than_the_public_one() {
    let address = |text: &str| text.parse().unwrap();
    for (operators, clients) in [
        ("127.0.0.1:9", "127.0.0.1:9"),
        ("127.0.0.1:9", "0.0.0.0:9"),
        ("[::]:9", "127.0.0.1:9"),
    ] {
        let error = check_apart(address(operators), address(clients)).unwrap_err();
        assert!(
            error
                .to_string()
                .contains("give the operators another port")
        );
    }
    for operators in ["127.0.0.2:9", "[::1]:9", "127.0.0.1:10"] {
        check_apart(address(operators), address("127.0.0.1:9")).unwrap();
    }
    check_apart(address("[::1]:9"), address("0.0.0.0:9")).unwrap();
}
