//! Unpacking layers into a directory that nobody else uses meanwhile.
//!
//! An archive is hostile: names must stay inside, links are resolved as if the directory were the root, device nodes
//! and pipes are refused, set-uid bits are dropped, and octets and entries are counted. Owners are not restored: all
//! belongs to the caller, and a container user reads what the mode lets everyone read.

use std::cell::Cell;
use std::collections::BTreeSet;
use std::fs::{self, File, OpenOptions, Permissions};
use std::io::{self, Read};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt, symlink};
use std::path::{Component, Path, PathBuf};
use std::rc::Rc;

use tar::EntryType;

const WHITEOUT: &str = ".wh.";
const OPAQUE: &str = ".wh..wh..opq";
const MAX_LINKS: usize = 40;
const MAX_PATH: usize = 4096;
/// Octets of headers before one entry.
const MAX_HEADERS: u64 = 256 * 1024;
/// Octets after the last entry.
const MAX_PADDING: u64 = 16 * 1024 * 1024;

/// What may still be unpacked, over all layers of an image.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Allowance {
    /// Octets of file content.
    pub bytes: u64,
    /// Files, directories and links.
    pub entries: u64,
}

/// A layer could not be unpacked.
#[derive(Debug, thiserror::Error)]
pub enum UnpackError {
    /// The archive is damaged, or the disk is.
    #[error("unpacking {path:?} failed")]
    Io {
        /// The entry or the directory.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// A name leaves the directory, or is too long.
    #[error("the archive names {path:?}, which is outside of the image")]
    Outside {
        /// The name.
        path: PathBuf,
    },
    /// A link cannot be followed inside the image.
    #[error("{path:?} cannot be resolved inside the image")]
    Link {
        /// The link.
        path: PathBuf,
    },
    /// A device node, a pipe or something unknown.
    #[error("{path:?} is of a kind that images may not contain")]
    Kind {
        /// The entry.
        path: PathBuf,
    },
    /// More octets than allowed.
    #[error("the image unpacks to more octets than allowed")]
    TooLarge,
    /// More entries than allowed.
    #[error("the image has more entries than allowed")]
    TooMany,
}

/// Unpacks the tar archive `layer` over what is already in `root`, and reads it to its end.
pub fn unpack_layer(
    layer: impl Read,
    root: &Path,
    allowance: &mut Allowance,
) -> Result<(), UnpackError> {
    let gate = Rc::new(Cell::new(MAX_HEADERS));
    let mut archive = tar::Archive::new(Gated {
        inner: layer,
        gate: Rc::clone(&gate),
    });
    let mut layer = Layer {
        root,
        allowance,
        made: BTreeSet::new(),
        gate: Rc::clone(&gate),
    };
    for entry in archive.entries().map_err(at(root))? {
        let mut entry = entry.map_err(at(root))?;
        let name = entry.path().map_err(at(root))?.into_owned();
        layer.count_entry()?;
        layer.entry(&name, &mut entry)?;
        gate.set(MAX_HEADERS);
    }
    gate.set(MAX_PADDING);
    io::copy(&mut archive.into_inner(), &mut io::sink()).map_err(at(root))?;
    Ok(())
}

/// Lets only so many octets pass, since the archive reader keeps long names and extended headers in memory.
struct Gated<R> {
    inner: R,
    gate: Rc<Cell<u64>>,
}

impl<R: Read> Read for Gated<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let open = usize::try_from(self.gate.get()).unwrap_or(usize::MAX);
        let length = buffer.len().min(open);
        if length == 0 && !buffer.is_empty() {
            return Err(io::Error::new(
                io::ErrorKind::InvalidData,
                "headers or padding of the archive are too long",
            ));
        }
        let read = self.inner.read(&mut buffer[..length])?;
        self.gate.set(self.gate.get() - read as u64);
        Ok(read)
    }
}

struct Layer<'a> {
    root: &'a Path,
    allowance: &'a mut Allowance,
    /// What this layer made, which an opaque mark spares.
    made: BTreeSet<PathBuf>,
    gate: Rc<Cell<u64>>,
}

impl Layer<'_> {
    fn count_entry(&mut self) -> Result<(), UnpackError> {
        self.allowance.entries = self
            .allowance
            .entries
            .checked_sub(1)
            .ok_or(UnpackError::TooMany)?;
        Ok(())
    }

    fn entry<R: Read>(
        &mut self,
        name: &Path,
        entry: &mut tar::Entry<'_, R>,
    ) -> Result<(), UnpackError> {
        let relative = inside(name)?;
        let Some(last) = relative.file_name() else {
            return Ok(()); // the root itself
        };
        let parent = self.resolve(relative.parent().unwrap_or(Path::new("")), true)?;
        let last_text = last.to_string_lossy();
        if last_text == OPAQUE {
            return self.clear(&parent);
        }
        if let Some(hidden) = last_text.strip_prefix(WHITEOUT) {
            if matches!(hidden, "" | "." | "..") || hidden.contains('/') {
                return Err(UnpackError::Outside { path: name.into() });
            }
            return remove(&parent.join(hidden));
        }
        let target = parent.join(last);
        let mode = entry.header().mode().map_err(at(name))? & 0o777;
        match entry.header().entry_type() {
            EntryType::Directory => {
                match fs::symlink_metadata(&target) {
                    Ok(found) if found.is_dir() => {}
                    _ => {
                        remove(&target)?;
                        fs::create_dir(&target).map_err(at(name))?;
                    }
                }
                fs::set_permissions(&target, Permissions::from_mode(mode | 0o700))
                    .map_err(at(name))?;
            }
            EntryType::Regular | EntryType::Continuous | EntryType::GNUSparse => {
                remove(&target)?;
                let mut file = OpenOptions::new()
                    .write(true)
                    .create_new(true)
                    .mode(0o600)
                    .open(&target)
                    .map_err(at(name))?;
                // One octet more than allowed, so that too much is noticed.
                let limit = self.allowance.bytes.saturating_add(1);
                self.gate.set(limit.saturating_add(MAX_HEADERS));
                let copied =
                    io::copy(&mut entry.by_ref().take(limit), &mut file).map_err(at(name))?;
                self.allowance.bytes = self
                    .allowance
                    .bytes
                    .checked_sub(copied)
                    .ok_or(UnpackError::TooLarge)?;
                file.set_permissions(Permissions::from_mode(mode))
                    .map_err(at(name))?;
            }
            EntryType::Symlink => {
                let to = link_name(name, entry)?;
                remove(&target)?;
                symlink(to, &target).map_err(at(name))?;
            }
            EntryType::Link => {
                let to = inside(&link_name(name, entry)?)?;
                let Some(file) = to.file_name() else {
                    return Err(UnpackError::Link { path: name.into() });
                };
                let from = self
                    .resolve(to.parent().unwrap_or(Path::new("")), false)?
                    .join(file);
                let kind = fs::symlink_metadata(&from).map_err(at(name))?;
                if !kind.is_file() {
                    return Err(UnpackError::Link { path: name.into() });
                }
                if from != target {
                    remove(&target)?;
                    fs::hard_link(&from, &target).map_err(at(name))?;
                }
            }
            EntryType::XGlobalHeader => return Ok(()),
            _ => return Err(UnpackError::Kind { path: name.into() }),
        }
        self.made.insert(target);
        Ok(())
    }

    /// The real path of a directory of the image, made where missing if `make`. Follows links as if `root` were `/`. Nobody else changes the tree meanwhile, so looking first is enough.
    fn resolve(&mut self, relative: &Path, make: bool) -> Result<PathBuf, UnpackError> {
        let mut path = self.root.to_path_buf();
        let mut to_do: Vec<PathBuf> = components(relative);
        let mut links = 0;
        while let Some(component) = to_do.pop() {
            if component == Path::new("..") {
                if path != self.root {
                    path.pop();
                }
                continue;
            }
            let next = path.join(&component);
            match fs::symlink_metadata(&next) {
                Ok(found) if found.is_dir() => path = next,
                Ok(found) if found.is_symlink() => {
                    links += 1;
                    if links > MAX_LINKS {
                        return Err(UnpackError::Link {
                            path: relative.into(),
                        });
                    }
                    let to = fs::read_link(&next).map_err(at(&next))?;
                    if to.is_absolute() {
                        path = self.root.to_path_buf();
                    }
                    to_do.extend(components(&to));
                    if to_do.len() > MAX_PATH {
                        return Err(UnpackError::Link {
                            path: relative.into(),
                        });
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::NotFound && make => {
                    self.count_entry()?;
                    fs::create_dir(&next).map_err(at(&next))?;
                    fs::set_permissions(&next, Permissions::from_mode(0o755)).map_err(at(&next))?;
                    self.made.insert(next.clone());
                    path = next;
                }
                Ok(_) => {
                    return Err(UnpackError::Link {
                        path: relative.into(),
                    });
                }
                Err(source) => {
                    return Err(UnpackError::Io { path: next, source });
                }
            }
        }
        Ok(path)
    }

    /// Removes what lower layers left in `directory`.
    fn clear(&self, directory: &Path) -> Result<(), UnpackError> {
        for child in fs::read_dir(directory).map_err(at(directory))? {
            let child = child.map_err(at(directory))?.path();
            if !self.made.contains(&child) {
                remove(&child)?;
            }
        }
        Ok(())
    }
}

/// Normal components, last first; `..` is kept for the caller to resolve.
fn components(path: &Path) -> Vec<PathBuf> {
    let mut components: Vec<PathBuf> = path
        .components()
        .filter_map(|component| match component {
            Component::Normal(name) => Some(PathBuf::from(name)),
            Component::ParentDir => Some(PathBuf::from("..")),
            _ => None,
        })
        .collect();
    components.reverse();
    components
}

/// `name` without a leading `./`, refused when it is absolute, goes up or is too long.
fn inside(name: &Path) -> Result<PathBuf, UnpackError> {
    let mut relative = PathBuf::new();
    let too_long = name.as_os_str().len() > MAX_PATH;
    for component in name.components() {
        match component {
            Component::Normal(part) if !too_long => relative.push(part),
            Component::CurDir if !too_long => {}
            _ => return Err(UnpackError::Outside { path: name.into() }),
        }
    }
    Ok(relative)
}

fn link_name<R: Read>(name: &Path, entry: &tar::Entry<'_, R>) -> Result<PathBuf, UnpackError> {
    let to = entry
        .link_name()
        .map_err(at(name))?
        .filter(|to| !to.as_os_str().is_empty() && to.as_os_str().len() < MAX_PATH)
        .ok_or_else(|| UnpackError::Link { path: name.into() })?;
    Ok(to.into_owned())
}

/// Removes a file, link or tree, if it is there. Does not follow links.
pub(crate) fn remove(path: &Path) -> Result<(), UnpackError> {
    let result = match fs::symlink_metadata(path) {
        Ok(found) if found.is_dir() => fs::remove_dir_all(path),
        Ok(_) => fs::remove_file(path),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error),
    };
    result.map_err(at(path))
}

fn at(path: &Path) -> impl FnOnce(io::Error) -> UnpackError + '_ {
    |source| UnpackError::Io {
        path: path.to_path_buf(),
        source,
    }
}

/// Opens a layer blob as the tar archive inside.
pub(crate) fn open_layer(path: &Path, gzip: bool) -> io::Result<Box<dyn Read>> {
    let file = io::BufReader::with_capacity(64 * 1024, File::open(path)?);
    Ok(if gzip {
        Box::new(flate2::read::MultiGzDecoder::new(file))
    } else {
        Box::new(file)
    })
}
