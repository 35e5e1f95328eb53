//! Resources of the operators' endpoints: one exact path, and its methods.

use actix_web::{
    FromRequest, Handler, HttpRequest, HttpResponse, Resource, Responder,
    guard::fn_guard,
    http::{Method, StatusCode, header::ALLOW},
    web,
};

use crate::problem::Problem;

/// The response to all other paths on the operators' own address: 404.
pub fn nothing_here(request: &HttpRequest) -> HttpResponse {
    let detail = "only the operators' endpoints are on this address";
    Problem::new(StatusCode::NOT_FOUND, detail)
        .at(request.uri())
        .into_response()
}

/// A resource that takes GET and HEAD.
pub(super) fn readable<F, Args>(path: &'static str, handler: F) -> Resource
where
    F: Handler<Args> + Clone,
    Args: FromRequest + 'static,
    F::Output: Responder + 'static,
{
    at(path)
        .route(web::get().to(handler.clone()))
        .route(web::head().to(handler))
        .default_service(web::to(only_get))
}

/// A resource at exactly this path as the client wrote it: the router alone would accept `%68` for `h`.
pub(super) fn at(path: &'static str) -> Resource {
    web::resource(path).guard(fn_guard(move |ctx| ctx.head().uri.path() == path))
}

/// 405 for methods other than GET and HEAD.
pub(super) async fn only_get(request: HttpRequest) -> HttpResponse {
    not_allowed(&request, "GET, HEAD")
}

/// 405 for methods other than POST.
pub(super) async fn only_post(request: HttpRequest) -> HttpResponse {
    not_allowed(&request, "POST")
}

/// 405 for methods other than GET, HEAD and POST.
pub(super) async fn get_or_post(request: HttpRequest) -> HttpResponse {
    not_allowed(&request, "GET, HEAD, POST")
}

fn not_allowed(request: &HttpRequest, allowed: &'static str) -> HttpResponse {
    let problem = Problem::new(
        StatusCode::METHOD_NOT_ALLOWED,
        format!(
            "{} is not allowed here: use {allowed}",
            method(request.method())
        ),
    )
    .at(request.uri());
    problem
        .builder()
        .insert_header((ALLOW, allowed))
        .body(problem.body())
}

/// A method's name for a message, cut if it is long: clients may invent methods.
fn method(method: &Method) -> &str {
    let method = method.as_str();
    method.get(..method.len().min(20)).unwrap_or(method)
}
