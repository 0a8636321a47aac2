//! The OpenAPI document and the page to try it.

use utoipa::OpenApi;

use crate::client::Client;
use crate::server::TestServer;

#[derive(OpenApi)]
#[openapi(info(title = "Test", version = "1"), components(schemas(service::ProblemDocument, service::FieldProblem)))]
struct Api;

#[tokio::test]
async fn the_page_is_whole_without_the_internet() {
    let server = TestServer::start(service::docs_router(&Api::openapi()).unwrap()).await;
    let mut client = Client::connect(server.api).await;
    let document = client.get("/openapi.json").await;
    assert_eq!(document.header("content-type"), "application/json");
    assert_eq!(document.json()["components"]["schemas"]["Problem"]["properties"]["status"]["type"], "integer");
    let redirect = client.get("/docs").await;
    assert_eq!((redirect.status, redirect.header("location")), (303, "/docs/"));
    let page = client.get("/docs/").await;
    assert_eq!(page.status, 200);
    assert!(page.header("content-type").starts_with("text/html"));
    // Every script and style of the page is served from here; it names no other host.
    assert!(!page.text().contains("//cdn") && !page.text().contains("https://"), "{}", page.text());
    let files: Vec<_> = ["src=\"", "href=\""]
        .iter()
        .flat_map(|attribute| page.text().split(attribute).skip(1))
        .map(|rest| rest.split('"').next().unwrap().trim_start_matches("./"))
        .collect();
    assert!(files.len() > 3, "{files:?}");
    for file in files {
        let answer = client.get(&format!("/docs/{file}")).await;
        assert!(answer.status == 200 && !answer.body.is_empty(), "{file}");
    }
    let script = client.get("/docs/swagger-initializer.js").await;
    assert!(script.text().contains("/openapi.json"), "{}", script.text());
    let missing = client.get("/docs/../../etc/passwd").await;
    assert_eq!((missing.status, missing.header("content-type")), (404, "application/problem+json"));
}
