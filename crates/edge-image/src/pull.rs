//! The client half of the distribution protocol: fetch by digest, check while streaming.

use std::io;
use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use bytes::Bytes;
use edge_types::{ImageDigest, ImageReference};
use http::header::{ACCEPT, AUTHORIZATION, CONNECTION, HOST, USER_AGENT};
use http::{Request, Response, StatusCode};
use http_body_util::{BodyExt, Empty};
use hyper::body::Incoming;
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper_util::rt::TokioIo;
use sha2::{Digest as _, Sha256};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::task::JoinHandle;
use tokio::time::timeout;

use crate::digest::digest_of;
use crate::manifest::{
    Configuration, DOCKER_LAYER, DOCKER_MANIFEST, Descriptor, LAYER_TAR, LAYER_TAR_GZIP, MANIFEST,
    Manifest,
};
use crate::unpack::{Allowance, UnpackError};

/// What a pull may cost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PullLimits {
    /// Octets of a manifest or configuration.
    pub document_bytes: u64,
    /// Octets of all layers as transferred.
    pub layer_bytes: u64,
    /// Number of layers.
    pub layers: usize,
    /// Octets and entries of the unpacked image.
    pub unpacked: Allowance,
    /// Images on disk from which on unused ones are deleted before another is pulled.
    pub kept_images: usize,
    /// Longest wait for the next octet.
    pub stall: Duration,
    /// Longest time for the whole pull, unpacking included.
    pub total: Duration,
}

impl Default for PullLimits {
    fn default() -> Self {
        Self {
            document_bytes: 1024 * 1024,
            layer_bytes: 256 * 1024 * 1024,
            layers: 64,
            unpacked: Allowance {
                bytes: 512 * 1024 * 1024,
                entries: 100_000,
            },
            kept_images: 16,
            stall: Duration::from_secs(20),
            total: Duration::from_mins(5),
        }
    }
}

/// An image could not be pulled.
#[derive(Debug, thiserror::Error)]
pub enum PullError {
    /// The repository's name is not one.
    #[error("{name:?} is not a repository name")]
    Name {
        /// The name.
        name: String,
    },
    /// No connection.
    #[error("connecting to the registry {registry} failed")]
    Connect {
        /// The registry.
        registry: SocketAddr,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The registry does not speak HTTP/1.1, or broke off.
    #[error("asking the registry for {what} failed")]
    Transport {
        /// Path asked for.
        what: String,
        /// Why.
        #[source]
        source: hyper::Error,
    },
    /// Nothing came for too long.
    #[error("the registry was silent for {waited:?} at {what}")]
    Stalled {
        /// Path asked for.
        what: String,
        /// How long.
        waited: Duration,
    },
    /// The whole pull took too long.
    #[error("the pull was not done within {limit:?}")]
    TooSlow {
        /// The limit.
        limit: Duration,
    },
    /// Another status than 200; redirects are not followed.
    #[error("the registry answered {status} for {what}")]
    Status {
        /// Path asked for.
        what: String,
        /// What came.
        status: StatusCode,
    },
    /// More octets than announced or allowed.
    #[error("{what} is larger than {limit} octets")]
    TooLarge {
        /// Path asked for.
        what: String,
        /// Octets allowed.
        limit: u64,
    },
    /// The octets are not those of the digest.
    #[error("{what} has the digest {found}")]
    Digest {
        /// Path asked for.
        what: String,
        /// What came.
        found: ImageDigest,
    },
    /// A document is not what it should be.
    #[error("the {document} cannot be used: {detail}")]
    Document {
        /// Manifest or configuration.
        document: &'static str,
        /// Why.
        detail: String,
    },
    /// A layer unpacks to something else than the configuration says.
    #[error("layer {index} unpacks to {found}, not to what the configuration names")]
    Content {
        /// Which layer, from 0.
        index: usize,
        /// What it unpacks to.
        found: ImageDigest,
    },
    /// A layer could not be unpacked.
    #[error("unpacking layer {index} failed")]
    Unpack {
        /// Which layer, from 0.
        index: usize,
        /// Why.
        #[source]
        source: UnpackError,
    },
    /// The store cannot be written.
    #[error("writing to the image store failed")]
    Store(#[source] io::Error),
}

/// One layer to fetch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct LayerPlan {
    pub(crate) digest: ImageDigest,
    pub(crate) size: u64,
    pub(crate) gzip: bool,
    pub(crate) diff_id: ImageDigest,
}

/// One keep-alive connection to a registry.
pub(crate) struct Client<'a> {
    reference: &'a ImageReference,
    token: Option<&'a str>,
    limits: &'a PullLimits,
    sender: SendRequest<Empty<Bytes>>,
    connection: JoinHandle<()>,
}

impl Drop for Client<'_> {
    fn drop(&mut self) {
        self.connection.abort();
    }
}

impl<'a> Client<'a> {
    pub(crate) async fn connect(
        reference: &'a ImageReference,
        token: Option<&'a str>,
        limits: &'a PullLimits,
    ) -> Result<Self, PullError> {
        check_name(&reference.repository)?;
        let registry = reference.registry;
        let connect = |source| PullError::Connect { registry, source };
        let stream = timeout(limits.stall, TcpStream::connect(registry))
            .await
            .map_err(|_| connect(io::ErrorKind::TimedOut.into()))?
            .map_err(connect)?;
        let (sender, connection) =
            handshake(TokioIo::new(stream))
                .await
                .map_err(|source| PullError::Transport {
                    what: "a connection".to_owned(),
                    source,
                })?;
        let connection = tokio::spawn(async move {
            if let Err(error) = connection.await {
                tracing::debug!(%registry, %error, "registry connection ended");
            }
        });
        Ok(Self {
            reference,
            token,
            limits,
            sender,
            connection,
        })
    }

    /// Manifest and configuration, checked; and what to fetch.
    pub(crate) async fn plan(&mut self) -> Result<(Configuration, Vec<LayerPlan>), PullError> {
        let digest = self.reference.digest;
        let text = self
            .document("manifests", digest, self.limits.document_bytes)
            .await?;
        let manifest: Manifest = parse("manifest", &text)?;
        let bad = |document, detail: &str| PullError::Document {
            document,
            detail: detail.to_owned(),
        };
        if manifest.schema_version != 2 {
            return Err(bad("manifest", "schemaVersion is not 2"));
        }
        if let Some(media_type) = &manifest.media_type
            && media_type != MANIFEST
            && media_type != DOCKER_MANIFEST
        {
            return Err(bad("manifest", "its media type is not that of a manifest"));
        }
        if manifest.layers.len() > self.limits.layers {
            return Err(bad("manifest", "it has too many layers"));
        }
        let total = manifest
            .layers
            .iter()
            .fold(0_u64, |sum, layer| sum.saturating_add(layer.size));
        if total > self.limits.layer_bytes {
            return Err(bad("manifest", "its layers are too large"));
        }
        if manifest.config.size > self.limits.document_bytes {
            return Err(bad("manifest", "its configuration is too large"));
        }
        let config_digest = digest_in("manifest", &manifest.config.digest)?;
        let text = self
            .document("blobs", config_digest, manifest.config.size)
            .await?;
        let configuration: Configuration = parse("configuration", &text)?;
        if configuration.os != "linux"
            || configuration.architecture != crate::manifest::architecture()
        {
            return Err(bad(
                "configuration",
                "it is for another system or architecture",
            ));
        }
        if configuration.rootfs.diff_ids.len() != manifest.layers.len() {
            return Err(bad("configuration", "it names another number of layers"));
        }
        let layers = manifest
            .layers
            .iter()
            .zip(&configuration.rootfs.diff_ids)
            .map(|(layer, diff_id)| plan_layer(layer, diff_id))
            .collect::<Result<_, _>>()?;
        Ok((configuration, layers))
    }

    async fn document(
        &mut self,
        kind: &str,
        digest: ImageDigest,
        limit: u64,
    ) -> Result<Vec<u8>, PullError> {
        let (what, mut response) = self.get(kind, digest).await?;
        let mut text = Vec::new();
        while let Some(chunk) = self.next(&what, &mut response).await? {
            if (text.len() + chunk.len()) as u64 > limit {
                return Err(PullError::TooLarge { what, limit });
            }
            text.extend_from_slice(&chunk);
        }
        let found = digest_of(&text);
        if found != digest {
            return Err(PullError::Digest { what, found });
        }
        Ok(text)
    }

    /// Streams a layer into the file `path`.
    pub(crate) async fn layer(&mut self, layer: &LayerPlan, path: &Path) -> Result<(), PullError> {
        let (what, mut response) = self.get("blobs", layer.digest).await?;
        let mut file = tokio::fs::File::create(path)
            .await
            .map_err(PullError::Store)?;
        let mut hasher = Sha256::new();
        let mut left = layer.size;
        while let Some(chunk) = self.next(&what, &mut response).await? {
            left = left
                .checked_sub(chunk.len() as u64)
                .ok_or(PullError::TooLarge {
                    what: what.clone(),
                    limit: layer.size,
                })?;
            hasher.update(&chunk);
            file.write_all(&chunk).await.map_err(PullError::Store)?;
        }
        file.flush().await.map_err(PullError::Store)?;
        let found = ImageDigest(hasher.finalize().into());
        if found != layer.digest {
            return Err(PullError::Digest { what, found });
        }
        Ok(())
    }

    async fn get(
        &mut self,
        kind: &str,
        digest: ImageDigest,
    ) -> Result<(String, Response<Incoming>), PullError> {
        let what = format!("/v2/{}/{kind}/{digest}", self.reference.repository);
        let mut request = Request::get(&what)
            .header(HOST, self.reference.registry.to_string())
            .header(USER_AGENT, concat!("exec-edge/", env!("CARGO_PKG_VERSION")))
            .header(ACCEPT, format!("{MANIFEST}, {DOCKER_MANIFEST}, */*"))
            .header(CONNECTION, "keep-alive");
        if let Some(token) = self.token {
            request = request.header(AUTHORIZATION, format!("Bearer {token}"));
        }
        let request = request
            .body(Empty::new())
            .map_err(|_| PullError::Name { name: what.clone() })?;
        let transport = |source| PullError::Transport {
            what: what.clone(),
            source,
        };
        let stall = self.limits.stall;
        let answer = timeout(stall, async {
            self.sender.ready().await?;
            self.sender.send_request(request).await
        });
        let response = answer
            .await
            .map_err(|_| PullError::Stalled {
                what: what.clone(),
                waited: stall,
            })?
            .map_err(transport)?;
        if response.status() != StatusCode::OK {
            return Err(PullError::Status {
                what,
                status: response.status(),
            });
        }
        Ok((what, response))
    }

    async fn next(
        &self,
        what: &str,
        response: &mut Response<Incoming>,
    ) -> Result<Option<Bytes>, PullError> {
        loop {
            let frame = timeout(self.limits.stall, response.body_mut().frame())
                .await
                .map_err(|_| PullError::Stalled {
                    what: what.to_owned(),
                    waited: self.limits.stall,
                })?;
            match frame {
                None => return Ok(None),
                Some(Err(source)) => {
                    return Err(PullError::Transport {
                        what: what.to_owned(),
                        source,
                    });
                }
                // Trailers are of no interest.
                Some(Ok(frame)) => {
                    if let Ok(data) = frame.into_data() {
                        return Ok(Some(data));
                    }
                }
            }
        }
    }
}

fn plan_layer(layer: &Descriptor, diff_id: &str) -> Result<LayerPlan, PullError> {
    let gzip = match layer.media_type.as_str() {
        LAYER_TAR => false,
        LAYER_TAR_GZIP | DOCKER_LAYER => true,
        other => {
            return Err(PullError::Document {
                document: "manifest",
                detail: format!("layers of the type {:?} are not known", short(other)),
            });
        }
    };
    Ok(LayerPlan {
        digest: digest_in("manifest", &layer.digest)?,
        size: layer.size,
        gzip,
        diff_id: digest_in("configuration", diff_id)?,
    })
}

fn short(text: &str) -> String {
    text.chars().take(80).collect()
}

fn digest_in(document: &'static str, text: &str) -> Result<ImageDigest, PullError> {
    text.parse().map_err(|_| PullError::Document {
        document,
        detail: format!("{:?} is not a sha256 digest", short(text)),
    })
}

pub(crate) fn parse<'a, T: serde::Deserialize<'a>>(
    document: &'static str,
    text: &'a [u8],
) -> Result<T, PullError> {
    serde_json::from_slice(text).map_err(|error| PullError::Document {
        document,
        detail: error.to_string(),
    })
}

/// Names as `ImageReference` allows them, without empty or dotted components.
fn check_name(name: &str) -> Result<(), PullError> {
    let allowed =
        |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"._-".contains(&byte);
    let good = name.len() <= 128
        && name
            .split('/')
            .all(|part| !part.is_empty() && !part.starts_with('.') && part.bytes().all(allowed));
    if good {
        Ok(())
    } else {
        Err(PullError::Name { name: short(name) })
    }
}
