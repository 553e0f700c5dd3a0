//! Two tonic services on one session.

use std::convert::Infallible;
use std::task::{Context, Poll};

use tonic::body::Body;
use tonic::codegen::BoxFuture;
use tonic::server::NamedService;

/// Routes calls of the first service's methods to it, and all other calls to the second, which answers UNIMPLEMENTED to
/// unknown methods. Nests for more services: `Routes::new(a, Routes::new(b, c))`.
#[derive(Debug, Clone)]
pub struct Routes<A, B> {
    first: A,
    rest: B,
}

impl<A, B> Routes<A, B> {
    /// Joins two services that tonic generated.
    pub fn new(first: A, rest: B) -> Self {
        Self { first, rest }
    }
}

type Answer = BoxFuture<http::Response<Body>, Infallible>;

impl<A, B> tower_service::Service<http::Request<Body>> for Routes<A, B>
where
    A: tower_service::Service<
            http::Request<Body>,
            Response = http::Response<Body>,
            Error = Infallible,
            Future = Answer,
        > + NamedService,
    B: tower_service::Service<
            http::Request<Body>,
            Response = http::Response<Body>,
            Error = Infallible,
            Future = Answer,
        >,
{
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = Answer;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        match self.first.poll_ready(cx) {
            Poll::Ready(Ok(())) => self.rest.poll_ready(cx),
            other => other,
        }
    }

    fn call(&mut self, request: http::Request<Body>) -> Answer {
        let path = request.uri().path().strip_prefix('/').unwrap_or_default();
        let is_first = path
            .strip_prefix(A::NAME)
            .is_some_and(|method| method.starts_with('/'));
        match is_first {
            true => self.first.call(request),
            false => self.rest.call(request),
        }
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt as _;
    use tower_service::Service as _;

    use super::*;

    /// A service that answers with a header: whether it is the first.
    #[derive(Clone)]
    struct HeaderService<const FIRST: bool>;

    impl NamedService for HeaderService<true> {
        const NAME: &'static str = "a.First";
    }

    impl<const FIRST: bool> tower_service::Service<http::Request<Body>> for HeaderService<FIRST> {
        type Response = http::Response<Body>;
        type Error = Infallible;
        type Future = Answer;

        fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
            Poll::Ready(Ok(()))
        }

        fn call(&mut self, _: http::Request<Body>) -> Answer {
            let mut response = http::Response::new(Body::empty());
            response
                .headers_mut()
                .insert("first", FIRST.to_string().parse().unwrap());
            Box::pin(std::future::ready(Ok(response)))
        }
    }

    #[test]
    fn methods_of_the_first_service_go_to_it_and_all_others_to_the_second() {
        let mut routes = Routes::new(HeaderService::<true>, HeaderService::<false>);
        for (path, first) in [
            ("/a.First/Method", "true"),
            ("/a.First", "false"),
            ("/a.Firstly/Method", "false"),
            ("/b.Second/Method", "false"),
            ("/", "false"),
        ] {
            let request = http::Request::builder().uri(path).body(Body::empty()).unwrap();
            let response = routes.call(request).now_or_never().unwrap().unwrap();
            assert_eq!(response.headers()["first"], first, "{path}");
        }
    }
}
