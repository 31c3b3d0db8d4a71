// Of llm-ls's errors those of requests, in its words.
use crate::backend::{APIError, OpenAIError};

#[derive(thiserror::Error, Debug)]
pub enum Error {
    #[error("http error: {0}")]
    Http(#[from] reqwest::Error),
    #[error("inference api error: {0}")]
    InferenceApi(APIError),
    #[error("You are attempting to parse a result in the API inference format when using the `tgi` backend")]
    InvalidBackend,
    #[error("invalid header value: {0}")]
    InvalidHeaderValue(#[from] reqwest::header::InvalidHeaderValue),
    #[error("llama.cpp error: {0}")]
    LlamaCpp(APIError),
    #[error("ollama error: {0}")]
    Ollama(APIError),
    #[error("openai error: {0}")]
    OpenAI(OpenAIError),
    #[error("serde json error: {0}")]
    SerdeJson(#[from] serde_json::Error),
    #[error("tgi error: {0}")]
    Tgi(APIError),
}

pub(crate) type Result<T> = std::result::Result<T, Error>;
