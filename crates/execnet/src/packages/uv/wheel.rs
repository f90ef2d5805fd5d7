//! A wheel of installed files, for uv: a zip file without compression, which lives for one run.

use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use flate2::Crc;

use super::super::environment::{Distribution, normalized};
use super::super::plan::{File, Source};

/// Makes it in a folder, and returns its path.
pub(super) fn make(distribution: &Distribution, files: &[File], folder: &Path) -> io::Result<PathBuf> {
    let name = normalized(&distribution.name).replace('-', "_");
    let tag = distribution.tags.first().map_or("py3-none-any", String::as_str);
    let path = folder.join(format!("{name}-{}-{tag}.whl", distribution.version.replace('-', "_")));
    let mut zip = Zip::new(io::BufWriter::new(fs::File::create(&path)?));
    let (mut info, mut lines) = (distribution.metadata.clone(), String::new());
    let mut add = |path: &str, content: &[u8], executable: bool| {
        lines.push_str(&format!("\"{}\",,\n", path.replace('"', "\"\"")));
        zip.add(path, content, executable)
    };
    if let Some(older) = info.strip_suffix(".egg-info") {
        // setuptools' older metadata
        let older = format!("{older}.egg-info/");
        info = format!("{name}-{}.dist-info", distribution.version.replace('-', "_"));
        add(&format!("{info}/METADATA"), metadata(distribution).as_bytes(), false)?;
        for file in files.iter().filter(|file| file.path == format!("{older}entry_points.txt")) {
            add(&format!("{info}/entry_points.txt"), &content(file)?, false)?;
        }
    }
    if distribution.tags.is_empty() {
        let text = "Wheel-Version: 1.0\nGenerator: execnet\nRoot-Is-Purelib: true\nTag: py3-none-any\n";
        add(&format!("{info}/WHEEL"), text.as_bytes(), false)?;
    }
    let record = format!("{info}/RECORD");
    let is_egg_info = |path: &str| path.split('/').next().is_some_and(|top| top.ends_with(".egg-info"));
    for file in files.iter().filter(|file| file.path != record && !is_egg_info(&file.path)) {
        add(&file.path, &content(file)?, file.executable)?;
    }
    zip.add(&record, format!("{lines}{record},,\n").as_bytes(), false)?;
    zip.end()?;
    Ok(path)
}

fn content(file: &File) -> io::Result<Vec<u8>> {
    match &file.source {
        Source::Path { file, .. } => fs::read(file),
        Source::Bytes(bytes) => Ok(bytes.to_vec()),
    }
}

/// What uv needs to know of a distribution.
fn metadata(distribution: &Distribution) -> String {
    let Distribution { name, version, requires_python, .. } = distribution;
    let mut text = format!("Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n");
    if !requires_python.is_empty() {
        text.push_str(&format!("Requires-Python: {requires_python}\n"));
    }
    text.extend(distribution.extras.iter().map(|extra| format!("Provides-Extra: {extra}\n")));
    text.extend(distribution.requires().iter().flatten().map(|other| format!("Requires-Dist: {other}\n")));
    text
}

/// A zip file that is being written.
pub(in super::super) struct Zip<W> {
    out: W,
    at: u32,
    central: Vec<u8>,
    count: u16,
}

impl<W: Write> Zip<W> {
    pub(in super::super) fn new(out: W) -> Self {
        Self { out, at: 0, central: Vec::new(), count: 0 }
    }

    pub(in super::super) fn add(&mut self, path: &str, content: &[u8], executable: bool) -> io::Result<()> {
        let large = |_| io::Error::other("too large for a wheel");
        let size = u32::try_from(content.len()).map_err(large)?;
        let length = u16::try_from(path.len()).map_err(large)?;
        let mut crc = Crc::new();
        crc.update(content);
        // made for version 2.0; names in UTF-8; stored; 1980-01-01
        let mut about = Vec::new();
        for number in [20_u16, 0x800, 0, 0, 0x21] {
            about.extend(number.to_le_bytes());
        }
        for number in [crc.sum(), size, size] {
            about.extend(number.to_le_bytes());
        }
        about.extend(length.to_le_bytes());
        about.extend(0_u16.to_le_bytes());
        self.central.extend(b"PK\x01\x02\x14\x03");
        self.central.extend(&about);
        // no comment, the first disk, no attributes but Unix' mode
        self.central.extend([0; 6]);
        let mode: u32 = if executable { 0o100_755 } else { 0o100_644 };
        self.central.extend((mode << 16).to_le_bytes());
        self.central.extend(self.at.to_le_bytes());
        self.central.extend(path.as_bytes());
        let parts = [b"PK\x03\x04", about.as_slice(), path.as_bytes(), content];
        for part in parts {
            self.out.write_all(part)?;
            let length = u32::try_from(part.len()).map_err(large)?;
            self.at = self.at.checked_add(length).ok_or_else(|| io::Error::other("too large for a wheel"))?;
        }
        self.count =
            self.count.checked_add(1).ok_or_else(|| io::Error::other("too many files for a wheel"))?;
        Ok(())
    }

    pub(in super::super) fn end(mut self) -> io::Result<()> {
        let large = |_| io::Error::other("too large for a wheel");
        let mut end = b"PK\x05\x06\0\0\0\0".to_vec();
        end.extend(self.count.to_le_bytes());
        end.extend(self.count.to_le_bytes());
        end.extend(u32::try_from(self.central.len()).map_err(large)?.to_le_bytes());
        end.extend(self.at.to_le_bytes());
        end.extend(0_u16.to_le_bytes());
        self.out.write_all(&self.central)?;
        self.out.write_all(&end)?;
        self.out.flush()
    }
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    #[test]
    fn python_reads_the_zip_file() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x.zip");
        let mut zip = Zip::new(fs::File::create(&path).unwrap());
        zip.add("a/ö.py", b"x = 1\n", false).unwrap();
        zip.add("empty", b"", true).unwrap();
        zip.end().unwrap();
        let code = "import sys, zipfile\nwith zipfile.ZipFile(sys.argv[1]) as file:\n    \
            assert not file.testzip()\n    \
            print([(ascii(i.filename), file.read(i), oct(i.external_attr >> 16)) for i in file.infolist()])";
        let ran = Command::new("python3").args(["-c", code]).arg(&path).output().unwrap();
        let expected = "[(\"'a/\\\\xf6.py'\", b'x = 1\\n', '0o100644'), (\"'empty'\", b'', '0o100755')]";
        assert_eq!(String::from_utf8_lossy(&ran.stdout).trim(), expected, "{ran:?}");
    }
}
