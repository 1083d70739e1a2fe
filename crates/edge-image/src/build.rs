//! An image of this program, made without any tool but itself.
//!
//! The one layer holds the running executable as `/app`, the shared libraries and the loader that it runs with at the
//! paths where the loader looked them up, mount points, and a minimal `/etc/passwd`. Equal input gives equal octets.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::{CStr, c_int, c_void};
use std::fs::{self, File};
use std::io::{self, BufWriter, Read, Write};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use edge_types::ImageDigest;
use flate2::Compression;
use flate2::write::GzEncoder;

use crate::digest::{Hashing, digest_of, hex};
use crate::manifest::{
    CONFIG, Configuration, Descriptor, Execution, INDEX, Index, LAYER_TAR_GZIP, MANIFEST, Manifest,
    REF_NAME, RootFs, architecture,
};

/// Where the executable is in the image.
pub const EXECUTABLE: &str = "/app";

/// What can be chosen of an image.
#[derive(Clone, Debug)]
pub struct ImageOptions {
    /// Arguments after the program.
    pub arguments: Vec<String>,
    /// Environment.
    pub environment: Vec<(String, String)>,
    /// Name in the index, by which a registry also finds it.
    pub tag: String,
    /// gzip level, 0 (store) to 9. Level 3 takes two fifths of the time of level 6 and gives 4 % more octets.
    pub compression: u32,
}

impl Default for ImageOptions {
    fn default() -> Self {
        Self {
            arguments: Vec::new(),
            environment: Vec::new(),
            tag: "latest".to_owned(),
            compression: 3,
        }
    }
}

/// What was built.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BuiltImage {
    /// Digest of the manifest.
    pub digest: ImageDigest,
    /// Octets that a pull transfers: manifest, configuration and compressed layer.
    pub transfer_bytes: u64,
    /// Octets of the unpacked layer.
    pub unpacked_bytes: u64,
}

/// An image could not be built.
#[derive(Debug, thiserror::Error)]
pub enum BuildError {
    /// A file that belongs into the image.
    #[error("reading {path:?} for the image failed")]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// A file of the layout.
    #[error("writing {path:?} of the image layout failed")]
    Write {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The loader's path in the executable is not usable.
    #[error("{path:?} is not an executable that this machine's loader starts")]
    NotElf {
        /// The executable.
        path: PathBuf,
    },
    /// A document could not be written as JSON.
    #[error("writing an image document as JSON failed")]
    Json(#[from] serde_json::Error),
}

/// Writes an image of the running executable into the layout directory `layout`, made if missing.
///
/// Blocks for about as long as compressing the executable takes; call it off an async runtime.
pub fn build_from_self(layout: &Path, options: &ImageOptions) -> Result<BuiltImage, BuildError> {
    let executable = Path::new("/proc/self/exe");
    let mut files = BTreeMap::from([(PathBuf::from(EXECUTABLE), executable.to_path_buf())]);
    if let Some(loader) = interpreter(executable)? {
        files.insert(loader.clone(), loader);
    }
    for library in loaded_libraries() {
        files.insert(library.clone(), library);
    }
    build(layout, &files, options)
}

/// Writes an image of `files` (path inside, path outside) into `layout`. [`EXECUTABLE`] is the entry point.
pub fn build(
    layout: &Path,
    files: &BTreeMap<PathBuf, PathBuf>,
    options: &ImageOptions,
) -> Result<BuiltImage, BuildError> {
    let blobs = layout.join("blobs/sha256");
    fs::create_dir_all(&blobs).map_err(writing(&blobs))?;
    let partial = layout.join("layer.partial");
    let layer = write_layer(&partial, files, options.compression)?;
    let layer_path = blobs.join(hex(&layer.digest));
    fs::rename(&partial, &layer_path).map_err(writing(&layer_path))?;

    let mut entrypoint = vec![EXECUTABLE.to_owned()];
    entrypoint.extend(options.arguments.iter().cloned());
    let mut env = vec!["PATH=/".to_owned()];
    env.extend(options.environment.iter().map(|(k, v)| format!("{k}={v}")));
    let (config, _) = put(
        &blobs,
        CONFIG,
        &Configuration {
            architecture: architecture().to_owned(),
            os: "linux".to_owned(),
            config: Execution {
                env,
                entrypoint,
                cmd: Vec::new(),
                working_dir: "/".to_owned(),
            },
            rootfs: RootFs {
                kind: "layers".to_owned(),
                diff_ids: vec![layer.diff_id.to_string()],
            },
        },
    )?;
    let (manifest, digest) = put(
        &blobs,
        MANIFEST,
        &Manifest {
            schema_version: 2,
            media_type: Some(MANIFEST.to_owned()),
            config: config.clone(),
            layers: vec![Descriptor {
                media_type: LAYER_TAR_GZIP.to_owned(),
                digest: layer.digest.to_string(),
                size: layer.compressed,
                annotations: BTreeMap::new(),
            }],
        },
    )?;
    let transfer_bytes = manifest.size + config.size + layer.compressed;
    let index = Index {
        schema_version: 2,
        media_type: INDEX.to_owned(),
        manifests: vec![Descriptor {
            annotations: BTreeMap::from([(REF_NAME.to_owned(), options.tag.clone())]),
            ..manifest
        }],
    };
    for (name, text) in [
        ("index.json", serde_json::to_vec(&index)?),
        ("oci-layout", br#"{"imageLayoutVersion":"1.0.0"}"#.to_vec()),
    ] {
        let path = layout.join(name);
        fs::write(&path, text).map_err(writing(&path))?;
    }
    Ok(BuiltImage {
        digest,
        transfer_bytes,
        unpacked_bytes: layer.unpacked,
    })
}

fn put<T: serde::Serialize>(
    blobs: &Path,
    media_type: &str,
    document: &T,
) -> Result<(Descriptor, ImageDigest), BuildError> {
    let text = serde_json::to_vec(document)?;
    let digest = digest_of(&text);
    let path = blobs.join(hex(&digest));
    fs::write(&path, &text).map_err(writing(&path))?;
    let descriptor = Descriptor {
        media_type: media_type.to_owned(),
        digest: digest.to_string(),
        size: text.len() as u64,
        annotations: BTreeMap::new(),
    };
    Ok((descriptor, digest))
}

struct Layer {
    digest: ImageDigest,
    diff_id: ImageDigest,
    compressed: u64,
    unpacked: u64,
}

fn write_layer(
    path: &Path,
    files: &BTreeMap<PathBuf, PathBuf>,
    compression: u32,
) -> Result<Layer, BuildError> {
    let out = Hashing::new(BufWriter::new(File::create(path).map_err(writing(path))?));
    let gzip = GzEncoder::new(out, Compression::new(compression));
    let mut archive = tar::Builder::new(Hashing::new(gzip));

    let mut directories: BTreeSet<PathBuf> = ["etc", "dev", "proc", "sys", "tmp"]
        .into_iter()
        .map(PathBuf::from)
        .collect();
    for inside in files.keys() {
        let relative = inside.strip_prefix("/").unwrap_or(inside);
        directories.extend(
            relative
                .ancestors()
                .skip(1)
                .filter(|directory| !directory.as_os_str().is_empty())
                .map(Path::to_path_buf),
        );
    }
    for directory in &directories {
        let mode = if directory == Path::new("tmp") {
            0o1777
        } else {
            0o755
        };
        let mut header = header(tar::EntryType::Directory, mode, 0);
        archive
            .append_data(&mut header, directory, io::empty())
            .map_err(writing(path))?;
    }
    let passwd = b"root:x:0:0:root:/:/\nnobody:x:65534:65534:nobody:/:/\n";
    archive
        .append_data(
            &mut header(tar::EntryType::Regular, 0o644, passwd.len() as u64),
            "etc/passwd",
            passwd.as_slice(),
        )
        .map_err(writing(path))?;
    for (inside, outside) in files {
        let file = File::open(outside).map_err(reading(outside))?;
        let size = file.metadata().map_err(reading(outside))?.len();
        archive
            .append_data(
                &mut header(tar::EntryType::Regular, 0o755, size),
                inside.strip_prefix("/").unwrap_or(inside),
                file.take(size),
            )
            .map_err(writing(path))?;
    }
    let finish = || -> io::Result<Layer> {
        let (gzip, diff_id, unpacked) = archive.into_inner()?.finish();
        let (mut out, digest, compressed) = gzip.finish()?.finish();
        out.flush()?;
        Ok(Layer {
            digest,
            diff_id,
            compressed,
            unpacked,
        })
    };
    finish().map_err(writing(path))
}

fn header(kind: tar::EntryType, mode: u32, size: u64) -> tar::Header {
    let mut header = tar::Header::new_gnu();
    header.set_entry_type(kind);
    header.set_mode(mode);
    header.set_size(size);
    header.set_uid(0);
    header.set_gid(0);
    header.set_mtime(0);
    header
}

/// The loader that an ELF file asks for (its `PT_INTERP`), `None` when it is linked statically.
fn interpreter(executable: &Path) -> Result<Option<PathBuf>, BuildError> {
    use std::os::unix::fs::FileExt;
    let not_elf = || BuildError::NotElf {
        path: executable.to_path_buf(),
    };
    let file = File::open(executable).map_err(reading(executable))?;
    let read = |offset: u64, length: usize| -> Result<Vec<u8>, BuildError> {
        let mut bytes = vec![0; length];
        file.read_exact_at(&mut bytes, offset)
            .map_err(reading(executable))?;
        Ok(bytes)
    };
    // ELF64 header: program header table offset at 32, entry size at 54, count at 56; PT_INTERP is 3.
    let start = read(0, 64)?;
    if !start.starts_with(b"\x7fELF\x02") {
        return Err(not_elf());
    }
    let number = |bytes: &[u8], at: usize, length: usize| -> u64 {
        let mut value = [0; 8];
        value[..length].copy_from_slice(&bytes[at..at + length]);
        u64::from_ne_bytes(value)
    };
    let (table, size, count) = (
        number(&start, 32, 8),
        number(&start, 54, 2),
        number(&start, 56, 2),
    );
    if size < 56 {
        return Err(not_elf());
    }
    for index in 0..count {
        let entry = read(table + index * size, 56)?;
        if number(&entry, 0, 4) != 3 {
            continue;
        }
        let length = usize::try_from(number(&entry, 32, 8)).map_err(|_| not_elf())?;
        if length > 4096 {
            return Err(not_elf());
        }
        let mut name = read(number(&entry, 8, 8), length)?;
        name.retain(|byte| *byte != 0);
        return Ok(Some(PathBuf::from(std::ffi::OsStr::from_bytes(&name))));
    }
    Ok(None)
}

/// Paths of the shared libraries of this process, as the loader found them.
fn loaded_libraries() -> BTreeSet<PathBuf> {
    #[expect(unsafe_code, reason = "the loader calls back with C pointers")]
    unsafe extern "C" fn visit(
        object: *mut libc::dl_phdr_info,
        _size: libc::size_t,
        paths: *mut c_void,
    ) -> c_int {
        // SAFETY: the loader passes a valid object whose name, if not null, is a C string that lives as long as the
        // call, and `paths` is the pointer to the set given below.
        unsafe {
            if !(*object).dlpi_name.is_null() {
                let name = CStr::from_ptr((*object).dlpi_name);
                // The program itself has no name, the vdso no path.
                if name.to_bytes().starts_with(b"/") {
                    let path = PathBuf::from(std::ffi::OsStr::from_bytes(name.to_bytes()));
                    (*paths.cast::<BTreeSet<PathBuf>>()).insert(path);
                }
            }
        }
        0
    }
    let mut paths = BTreeSet::new();
    let pointer: *mut BTreeSet<PathBuf> = &raw mut paths;
    #[expect(unsafe_code, reason = "only the loader knows what it loaded")]
    // SAFETY: the callback matches what the loader calls, and `pointer` outlives the call.
    unsafe {
        libc::dl_iterate_phdr(Some(visit), pointer.cast());
    }
    paths
}

fn reading(path: &Path) -> impl FnOnce(io::Error) -> BuildError + '_ {
    |source| BuildError::Read {
        path: path.to_path_buf(),
        source,
    }
}

fn writing(path: &Path) -> impl FnOnce(io::Error) -> BuildError + '_ {
    |source| BuildError::Write {
        path: path.to_path_buf(),
        source,
    }
}
