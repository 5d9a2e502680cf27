"""Makes documents with productmd itself, or reads and writes them again.

usage: productmd_documents.py make DIRECTORY       writes every kind of document that the test describes
       productmd_documents.py again DIRECTORY      loads each document of the directory and writes it again
"""
import sys
from pathlib import Path

import productmd.composeinfo
import productmd.discinfo
import productmd.extra_files
import productmd.images
import productmd.modules
import productmd.rpms
import productmd.treeinfo

KINDS = {
    "composeinfo.json": productmd.composeinfo.ComposeInfo,
    "rpms.json": productmd.rpms.Rpms,
    "images.json": productmd.images.Images,
    "modules.json": productmd.modules.Modules,
    "extra_files.json": productmd.extra_files.ExtraFiles,
}


def compose(document):
    document.compose.id = "Rocky-9.7-20251124.0"
    document.compose.type = "production"
    document.compose.date = "20251124"
    document.compose.respin = 0
    document.compose.label = "RC-1.0"
    document.compose.final = True
    return document


def composeinfo():
    info = compose(productmd.composeinfo.ComposeInfo())
    info.release.name = "Rocky Linux"
    info.release.short = "Rocky"
    info.release.version = "9.7"
    info.release.type = "ga"
    for uid in ["BaseOS", "AppStream"]:
        variant = productmd.composeinfo.Variant(info)
        variant.id = variant.uid = variant.name = uid
        variant.type = "variant"
        variant.arches = {"x86_64", "aarch64"}
        for arch in variant.arches:
            variant.paths.os_tree[arch] = f"{uid}/{arch}/os"
            variant.paths.packages[arch] = f"{uid}/{arch}/os/Packages"
            variant.paths.repository[arch] = f"{uid}/{arch}/os"
            variant.paths.source_tree[arch] = f"{uid}/source/tree"
        info.variants.add(variant)
    return info


def rpms():
    made = compose(productmd.rpms.Rpms())
    source = "bash-0:5.1.8-9.el9.src"
    base = "BaseOS/x86_64/os/Packages/b"
    made.add("BaseOS", "x86_64", source, "BaseOS/source/tree/Packages/b/bash-5.1.8-9.el9.src.rpm", "350D275D", "source")
    made.add("BaseOS", "x86_64", "bash-0:5.1.8-9.el9.x86_64", f"{base}/bash-5.1.8-9.el9.x86_64.rpm", "350d275d", "binary", source)
    made.add("BaseOS", "x86_64", "bash-debuginfo-0:5.1.8-9.el9.x86_64", "BaseOS/x86_64/debug/tree/Packages/b/x.rpm", None, "debug", source)
    return made


def images():
    made = compose(productmd.images.Images())
    for number, (kind, arch, path) in enumerate([("dvd", "x86_64", "BaseOS/x86_64/iso/z.iso"), ("boot", "x86_64", "BaseOS/x86_64/iso/a.iso")]):
        image = productmd.images.Image(made)
        image.path = path
        image.mtime = 1700000000 + number
        image.size = 1 << 33
        image.volume_id = "Rocky-9-7-x86_64-dvd" if kind == "dvd" else None
        image.type = kind
        image.format = "iso"
        image.arch = arch
        image.disc_number = image.disc_count = 1
        image.checksums = {"sha256": "00ff" * 16, "md5": "0f" * 16}
        image.implant_md5 = "0" * 32 if kind == "dvd" else None
        image.bootable = True
        image.subvariant = "BaseOS"
        made.add("BaseOS", arch, image)
    return made


def modules():
    made = compose(productmd.modules.Modules())
    uid = "nodejs:18:9040020240301:a1b2c3d4"
    for category in ["binary", "source"]:
        path = f"AppStream/x86_64/os/repodata/{category}-modules.yaml.gz"
        made.add("AppStream", "x86_64", uid, "module-nodejs", path, category, [f"nodejs-1:18.0-1.{category}"])
    return made


def extra_files():
    made = compose(productmd.extra_files.ExtraFiles())
    for name in ["EULA", "LICENSE"]:
        made.add("BaseOS", "x86_64", f"BaseOS/x86_64/os/{name}", 7, {"sha256": "00ff" * 16})
    return made


def treeinfo():
    info = productmd.treeinfo.TreeInfo()
    info.release.name, info.release.short, info.release.version = "Rocky Linux", "Rocky", "9.7"
    info.tree.arch, info.tree.build_timestamp = "x86_64", 1763990000
    info.tree.platforms = {"x86_64", "xen"}
    for uid, top in [("BaseOS", "."), ("AppStream", "../../../AppStream/x86_64/os")]:
        variant = productmd.treeinfo.Variant(info)
        variant.id = variant.uid = variant.name = uid
        variant.type = "variant"
        variant.paths.repository = top
        variant.paths.packages = "Packages" if top == "." else f"{top}/Packages"
        info.variants.add(variant)
    info.images.images["x86_64"] = {"boot.iso": "images/boot.iso", "kernel": "images/pxeboot/vmlinuz"}
    info.images.images["xen"] = {"kernel": "images/pxeboot/vmlinuz"}
    info.checksums.checksums["images/boot.iso"] = ["sha256", "00ff" * 16]
    info.stage2.mainimage = "images/install.img"
    return info


def main():
    verb, directory = sys.argv[1], Path(sys.argv[2])
    if verb == "make":
        makers = {
            "composeinfo.json": composeinfo,
            "rpms.json": rpms,
            "images.json": images,
            "modules.json": modules,
            "extra_files.json": extra_files,
        }
        for name, maker in makers.items():
            maker().dump(str(directory / name))
        made = extra_files()
        with open(directory / "tree_extra_files.json", "w") as out:
            made.dump_for_tree(out, "BaseOS", "x86_64", "BaseOS/x86_64/os")
        treeinfo().dump(str(directory / "treeinfo"), main_variant="BaseOS")
        disc = productmd.discinfo.DiscInfo()
        disc.timestamp, disc.description, disc.arch = 1763990000.0, "Rocky Linux 9.7", "x86_64"
        disc.disc_numbers = ["ALL"]
        disc.dump(str(directory / "discinfo"))
        return
    for path in sorted(directory.iterdir()):
        document = KINDS[path.name]()
        document.load(str(path))
        document.dump(str(path))


main()
