//! Dispatches a request to the operators' endpoints or to the origin.
//!
//! The endpoints are an actix-web application. Requests for the origin bypass it: its router, middleware and types would cost more
//! than everything the proxy itself does.

use std::{future::Future, rc::Rc, sync::Arc};

use actix_http::{ConnectionType, HttpMessage as _, Request, Response, body::BoxBody};
use actix_service::Service;
use actix_web::{
    body::MessageBody,
    dev::{ServiceRequest, ServiceResponse},
};

use crate::{
    api,
    path::{client::Client, handler, worker::Worker},
    traffic::published::Published,
};

/// Dispatches the requests of one socket, on one worker thread.
#[derive(Clone)]
pub(super) struct Dispatch {
    /// Forwards to the origin; none on the operators' own address.
    pub worker: Option<Rc<Worker>>,
    /// Whether the operators' endpoints are served.
    pub endpoints: bool,
    /// Whether the proxy handles CORS itself, which the application's middleware does for every path.
    pub cors: bool,
    /// Tells whether the process drains.
    pub published: Arc<Published>,
}

impl Dispatch {
    /// The worker that forwards this request directly; none if the application serves it.
    fn direct(&self, request: &Request) -> Option<Rc<Worker>> {
        let endpoint = self.endpoints && api::is_endpoint(request.path());
        let worker = self.worker.as_ref().filter(|_| !endpoint && !self.cors)?;
        if let Some(client) = request.conn_data::<Rc<Client>>() {
            client.begin();
        }
        Some(Rc::clone(worker))
    }

    /// Serves a request, by `application` unless it is forwarded directly.
    pub fn serve<S, B>(
        &self,
        application: &Rc<S>,
        request: Request,
    ) -> impl Future<Output = Result<Response<BoxBody>, S::Error>> + use<S, B>
    where
        S: Service<Request, Response = ServiceResponse<B>>,
        B: MessageBody + 'static,
    {
        let direct = self.direct(&request);
        let published = Arc::clone(&self.published);
        let application = Rc::clone(application);
        async move {
            // Boxed; otherwise every connection would reserve space for them while it waits for a request.
            let mut response = match direct {
                Some(worker) => Box::pin(handler::forward(request, worker)).await,
                None => {
                    let answered = Box::pin(application.call(request)).await?;
                    let (_, response) = answered.into_parts();
                    Response::from(response.map_into_boxed_body())
                }
            };
            if published.is_draining() {
                // The connection closes, so that the client's next request goes to the process that replaces this one.
                response
                    .head_mut()
                    .set_connection_type(ConnectionType::Close);
            }
            Ok(response)
        }
    }
}

/// Forwards a request that came through the application.
pub(super) async fn forward(request: ServiceRequest, worker: Rc<Worker>) -> ServiceResponse {
    let (application, payload) = request.into_parts();
    let mut plain = Request::with_payload(payload);
    *plain.head_mut() = application.head().clone();
    let client = application.conn_data::<Rc<Client>>().cloned();
    let client = client.or_else(|| application.extensions().get::<Rc<Client>>().cloned());
    if let Some(client) = client {
        plain.extensions_mut().insert(client);
    }
    let response = handler::forward(plain, worker).await;
    ServiceResponse::new(application, response.into())
}
