//! Two addresses: clients on one, operators on the other.

use fileproxy::path::listener::check_apart;

use crate::support::{
    origin::{Origin, ok},
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
