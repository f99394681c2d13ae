"""What the benches that are scripts report: the machine, metrics and their goals, as a table or as one JSON object."""
import json
import os
import platform


def metric(suite, name, value, unit, goal=None, met=None):
    return {"name": f"{suite}.{name}", "value": value, "unit": unit, "goal": goal, "met": met}


def host():
    with open("/proc/cpuinfo", encoding="utf-8") as lines:
        names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return {"cpu": names[0] if names else "unknown processor", "cores": os.cpu_count(),
            "kernel": f"{platform.system()} {platform.release()}"}


def show(report, path):
    """To standard output as JSON with -, into a file, or as a table without a path."""
    if path == "-":
        print(json.dumps(report, indent=2))
    elif path:
        with open(path, "w", encoding="utf-8") as file:
            file.write(json.dumps(report, indent=2) + "\n")
    else:
        h = report["host"]
        print(f"{report['suite']}, on {h['cores']} x {h['cpu']}, {h['kernel']}; GPU: {report['gpu']}")
        for m in report["metrics"]:
            goal = "" if m["goal"] is None else f"  goal {m['goal']}: {'met' if m['met'] else 'MISSED'}"
            print(f"  {m['name']:<30} {m['value']:>14} {m['unit']:<5}{goal}")
