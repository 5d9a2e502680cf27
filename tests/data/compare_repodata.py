"""Compares the package records of two repositories after parsing; prints one line for each difference.

usage: compare_repodata.py REPOSITORY REPOSITORY
"""
import bz2
import gzip
import lzma
import subprocess
import sys
import xml.etree.ElementTree as etree
from pathlib import Path

REPO = "{http://linux.duke.edu/metadata/repo}"


def opened(path):
    data = path.read_bytes()
    if data[:2] == b"\x1f\x8b":
        return gzip.decompress(data)
    if data[:3] == b"BZh":
        return bz2.decompress(data)
    if data[:4] == b"\x28\xb5\x2f\xfd":
        return subprocess.run(["zstd", "-dc", str(path)], check=True, stdout=subprocess.PIPE).stdout
    return lzma.decompress(data) if data[:5] == b"\xfd7zXZ" else data


def value(element):
    name = element.tag.rsplit("}", 1)[-1]
    text = element.text or ""
    if len(element):
        text = ""  # white space for people
    return (name, tuple(sorted(element.attrib.items())), text, tuple(value(child) for child in element))


def records(root, kind):
    repomd = etree.parse(root / "repodata/repomd.xml").getroot()
    data = next(data for data in repomd.iter(REPO + "data") if data.get("type") == kind)
    document = etree.fromstring(opened(root / data.find(REPO + "location").get("href")))
    found = {}
    for package in document:
        fields = [value(child) for child in package]
        if kind == "primary":
            texts = {field[0]: field for field in fields}
            key = (texts["checksum"][2], dict(texts["location"][1])["href"])
        else:
            fields.insert(0, ("package", tuple(sorted(package.attrib.items())), "", ()))
            key = (package.get("pkgid"), package.get("name"))
        found.setdefault(key, []).append(fields)
    assert int(document.get("packages")) == len(document), "the count of packages"
    return found


def flat(fields):
    lines = []
    for name, attributes, text, children in fields:
        if children:
            lines += [f"{name}/{line}" for line in flat(children)]
        else:
            lines.append(f"{name} {dict(attributes)} {text!r}")
    return lines


def main():
    ours, theirs = Path(sys.argv[1]), Path(sys.argv[2])
    for kind in ("primary", "filelists", "other"):
        a, b = records(ours, kind), records(theirs, kind)
        for key in sorted(a.keys() | b.keys()):
            if a.get(key) == b.get(key):
                continue
            name = f"{kind} {key[1]}"
            if key not in a or key not in b:
                print(f"{name}: only in the {'second' if key not in a else 'first'}")
                continue
            first, second = flat(sum(a[key], [])), flat(sum(b[key], []))
            for line in first:
                if line not in second:
                    print(f"{name}: first {line}")
            for line in second:
                if line not in first:
                    print(f"{name}: second {line}")
            if sorted(first) == sorted(second):
                print(f"{name}: another order")
    print(f"compared {len(records(ours, 'primary'))} with {len(records(theirs, 'primary'))}", file=sys.stderr)


main()
