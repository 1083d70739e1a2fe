//! Pulled images on disk, unpacked once and shared read-only.
//!
//! `rootfs/<hex of the manifest digest>/` holds `image.json` (the configuration) and `root/` (the file system). A
//! directory appears under its final name only when it is complete. Everything under `partial/` is left over from an
//! earlier process and deleted at the start.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError, Weak};

use edge_types::{ImageDigest, ImageReference};
use tokio::time::timeout;

use crate::digest::{Hashing, hex};
use crate::manifest::Configuration;
use crate::pull::{Client, LayerPlan, PullError, PullLimits, parse};
use crate::unpack::{Allowance, open_layer, unpack_layer};

/// An unpacked image; shared, so nobody may write to it.
#[derive(Debug)]
pub struct PulledImage {
    /// Digest of the manifest.
    pub digest: ImageDigest,
    /// The root file system.
    pub root: PathBuf,
    /// How to run it.
    pub configuration: Configuration,
}

/// A directory of pulled images; one per process.
#[derive(Debug)]
pub struct ImageStore {
    directory: PathBuf,
    limits: PullLimits,
    images: Mutex<BTreeMap<ImageDigest, Arc<Slot>>>,
}

type Slot = tokio::sync::Mutex<Weak<PulledImage>>;

impl ImageStore {
    /// Opens or makes the store in `directory`, and deletes what an earlier process left unfinished.
    pub fn open(directory: &Path, limits: PullLimits) -> io::Result<Self> {
        let partial = directory.join("partial");
        match fs::remove_dir_all(&partial) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        fs::create_dir_all(&partial)?;
        fs::create_dir_all(directory.join("rootfs"))?;
        Ok(Self {
            // Others use the paths of images from other working directories.
            directory: directory.canonicalize()?,
            limits,
            images: Mutex::default(),
        })
    }

    /// The image of `reference`, pulled if it is not here. `token` is shown to the registry as a bearer token.
    ///
    /// Pulls of one digest wait for each other, so that it is transferred once.
    pub async fn pull(
        &self,
        reference: &ImageReference,
        token: Option<&str>,
    ) -> Result<Arc<PulledImage>, PullError> {
        let slot = self.slot(reference.digest);
        let mut slot = slot.lock().await;
        if let Some(image) = slot.upgrade() {
            return Ok(image);
        }
        let limit = self.limits.total;
        let image = timeout(limit, self.load_or_fetch(reference, token))
            .await
            .map_err(|_| PullError::TooSlow { limit })??;
        let image = Arc::new(image);
        *slot = Arc::downgrade(&image);
        Ok(image)
    }

    /// Deletes the images that nobody holds; tells how many.
    pub async fn evict_unused(&self) -> io::Result<usize> {
        let mut evicted = 0;
        let mut found = tokio::fs::read_dir(self.directory.join("rootfs")).await?;
        while let Some(entry) = found.next_entry().await? {
            let name = format!("sha256:{}", entry.file_name().to_string_lossy());
            let Ok(digest) = name.parse() else { continue };
            let slot = self.slot(digest);
            // A slot in use is being pulled right now.
            let Ok(held) = slot.try_lock() else { continue };
            if held.strong_count() == 0 {
                tokio::fs::remove_dir_all(entry.path()).await?;
                evicted += 1;
            }
        }
        self.images
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .retain(|_, slot| {
                Arc::strong_count(slot) > 1
                    || slot.try_lock().is_ok_and(|held| held.strong_count() > 0)
            });
        Ok(evicted)
    }

    fn slot(&self, digest: ImageDigest) -> Arc<Slot> {
        let mut images = self.images.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(images.entry(digest).or_default())
    }

    fn home(&self, digest: &ImageDigest) -> PathBuf {
        self.directory.join("rootfs").join(hex(digest))
    }

    async fn load_or_fetch(
        &self,
        reference: &ImageReference,
        token: Option<&str>,
    ) -> Result<PulledImage, PullError> {
        let digest = reference.digest;
        let home = self.home(&digest);
        if let Ok(text) = tokio::fs::read(home.join("image.json")).await {
            return Ok(PulledImage {
                digest,
                root: home.join("root"),
                configuration: parse("configuration", &text)?,
            });
        }
        if fs::read_dir(self.directory.join("rootfs")).map_or(0, Iterator::count)
            >= self.limits.kept_images
        {
            self.evict_unused().await.map_err(PullError::Store)?;
        }
        // Removed when this future is dropped half way, too.
        let partial = Partial(self.directory.join("partial").join(hex(&digest)));
        partial.make().map_err(PullError::Store)?;
        let mut client = Client::connect(reference, token, &self.limits).await?;
        let (configuration, layers) = client.plan().await?;
        let mut files = Vec::with_capacity(layers.len());
        for (index, layer) in layers.into_iter().enumerate() {
            let path = partial.0.join(format!("layer-{index}"));
            client.layer(&layer, &path).await?;
            files.push((path, layer));
        }
        drop(client);
        let allowance = self.limits.unpacked;
        tokio::task::spawn_blocking(move || {
            let partial = partial;
            finish(&partial.0, &home, &files, &configuration, allowance)?;
            Ok(PulledImage {
                digest,
                root: home.join("root"),
                configuration,
            })
        })
        .await
        .map_err(|error| PullError::Store(io::Error::other(error)))?
    }
}

fn finish(
    partial: &Path,
    home: &Path,
    layers: &[(PathBuf, LayerPlan)],
    configuration: &Configuration,
    mut allowance: Allowance,
) -> Result<(), PullError> {
    let image = partial.join("image");
    let root = image.join("root");
    fs::create_dir_all(&root).map_err(PullError::Store)?;
    fs::set_permissions(&root, fs::Permissions::from_mode(0o755)).map_err(PullError::Store)?;
    for (index, (path, layer)) in layers.iter().enumerate() {
        let mut content = Hashing::new(open_layer(path, layer.gzip).map_err(PullError::Store)?);
        unpack_layer(&mut content, &root, &mut allowance)
            .map_err(|source| PullError::Unpack { index, source })?;
        let (_, found, _) = content.finish();
        if found != layer.diff_id {
            return Err(PullError::Content { index, found });
        }
    }
    // Mount points that a container needs, whatever the image brings.
    for directory in ["dev", "proc", "tmp"] {
        let path = root.join(directory);
        match fs::symlink_metadata(&path) {
            Ok(found) if found.is_dir() => {}
            Ok(_) => {
                return Err(PullError::Document {
                    document: "image",
                    detail: format!("/{directory} is not a directory"),
                });
            }
            Err(_) => fs::create_dir(&path).map_err(PullError::Store)?,
        }
    }
    let text = serde_json::to_vec(configuration)
        .map_err(|error| PullError::Store(io::Error::other(error)))?;
    fs::write(image.join("image.json"), text).map_err(PullError::Store)?;
    fs::rename(&image, home).map_err(PullError::Store)
}

/// A directory that goes away with its owner.
struct Partial(PathBuf);

impl Partial {
    fn make(&self) -> io::Result<()> {
        match fs::remove_dir_all(&self.0) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        fs::create_dir_all(&self.0)
    }
}

impl Drop for Partial {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_dir_all(&self.0)
            && error.kind() != io::ErrorKind::NotFound
        {
            tracing::warn!(path = ?self.0, %error, "leftover of a pull could not be deleted");
        }
    }
}
