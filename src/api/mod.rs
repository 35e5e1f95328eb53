//! stub
pub mod problem {
    //! stub
    use actix_web::HttpResponse;
    use actix_http::StatusCode;
    pub struct Problem;
    impl Problem {
        pub fn new(_: StatusCode, _: String) -> Self { Problem }
        pub fn instance(self, _: &str) -> Self { self }
        pub fn response(&self) -> HttpResponse { HttpResponse::Ok().finish() }
        pub fn wire(&self) -> Vec<u8> { vec![] }
    }
}
