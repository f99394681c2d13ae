"""The rules of the Container Device Interface's specification, as far as a file of ours could break them; strict: what the
specification does not name is an error."""
import re

VERSIONS = ("0.3.0", "0.4.0", "0.5.0", "0.6.0", "0.7.0", "0.8.0", "1.0.0")
NAME = re.compile(r"[A-Za-z0-9]([A-Za-z0-9_.:-]*[A-Za-z0-9])?")
KIND = re.compile(r"[A-Za-z]([A-Za-z0-9_.-]*[A-Za-z0-9])?/[A-Za-z]([A-Za-z0-9_-]*[A-Za-z0-9])?")
OPTIONS = {"bind", "rbind", "ro", "rw", "nosuid", "nodev", "noexec", "private", "rprivate"}


class SpecError(Exception):
    pass


def _must(condition, what):
    if not condition:
        raise SpecError(what)


def _keys(value, needed, allowed, where):
    _must(isinstance(value, dict), f"{where} is no object")
    _must(needed <= set(value), f"{where} lacks {sorted(needed - set(value))}")
    _must(set(value) <= needed | allowed, f"{where} has {sorted(set(value) - needed - allowed)}")


def _edits(edits, where):
    _keys(edits, set(), {"env", "mounts", "hooks", "deviceNodes"}, where)
    _must(edits, f"{where} edits nothing")
    for entry in edits.get("env", []):
        _must(isinstance(entry, str) and "=" in entry, f"{where}: env {entry!r}")
    for mount in edits.get("mounts", []):
        _keys(mount, {"hostPath", "containerPath"}, {"options", "type"}, f"{where}: mount")
        for key in ("hostPath", "containerPath"):
            _must(isinstance(mount[key], str) and mount[key].startswith("/"), f"{where}: {key} {mount[key]!r}")
        _must(set(mount.get("options", [])) <= OPTIONS, f"{where}: options {mount.get('options')}")
        _must(not {"ro", "rw"} <= set(mount.get("options", [])), f"{where}: both ro and rw")


def check(spec):
    _keys(spec, {"cdiVersion", "kind", "devices"}, {"containerEdits", "annotations"}, "the specification")
    _must(spec["cdiVersion"] in VERSIONS, f"cdiVersion {spec['cdiVersion']!r}")
    _must("annotations" not in spec or VERSIONS.index(spec["cdiVersion"]) >= VERSIONS.index("0.6.0"), "annotations before 0.6.0")
    _must(isinstance(spec["kind"], str) and KIND.fullmatch(spec["kind"]), f"kind {spec['kind']!r}")
    _must(isinstance(spec["devices"], list) and spec["devices"], "no devices")
    names = []
    for device in spec["devices"]:
        _keys(device, {"name", "containerEdits"}, {"annotations"}, "a device")
        _must(isinstance(device["name"], str) and NAME.fullmatch(device["name"]), f"device {device['name']!r}")
        names.append(device["name"])
        _edits(device["containerEdits"], f"device {device['name']}")
        targets = [m["containerPath"] for e in (device["containerEdits"], spec.get("containerEdits", {})) for m in e.get("mounts", [])]
        _must(len(set(targets)) == len(targets), f"device {device['name']}: two mounts at one place")
    _must(len(set(names)) == len(names), "two devices of one name")
    if "containerEdits" in spec:
        _edits(spec["containerEdits"], "containerEdits")


def mounts(spec, device):
    """What a container gets that asks for this device."""
    chosen = next(d for d in spec["devices"] if d["name"] == device)
    return [m for edits in (chosen["containerEdits"], spec.get("containerEdits", {})) for m in edits.get("mounts", [])]
