"""lull.toml(5) for man, from what `lulld --describe-config` prints: toml_page.py LULLD VERSION."""
import re
import subprocess
import sys


def roff(text):
    """Text in which nothing is a request or an escape; `code` is bold."""
    text = text.replace("\\", "\\e").replace("-", "\\-")
    text = re.sub(r"`([^`]*)`", r"\\fB\1\\fP", text)
    return re.sub(r"\[([^]]*)\]\([^)]*\)", r"\1", text)


def line(text):
    """The same at the beginning of a line."""
    return ("\\&" if text.startswith((".", "'")) else "") + roff(text)


def page(markdown, version):
    yield f'.TH LULL.TOML 5 "" "Lull {version}" "File formats"'
    yield ".SH NAME\nlull.toml \\- configuration of lulld\n.SH DESCRIPTION"
    for text in markdown.splitlines():
        if text.startswith("# ") or re.fullmatch(r"\|[-|]*\|", text) or text.startswith("| key |"):
            continue
        if text.startswith("## "):
            yield ".SH " + roff(text[3:]).upper().replace("\\FB", "").replace("\\FP", "")
        elif row := re.fullmatch(r"\| `([^`]*)` \| (.*?) \| (.*) \|", text):
            yield f".TP\n.B {roff(row[1])}\n{line(row[3])}\n.br\nDefault: {roff(row[2])}"
        elif text:
            yield line(text)
        else:
            yield ".PP"
    yield ".SH SEE ALSO\n.BR lulld (8),\n.BR lull (1)"


def main():
    lulld, version = sys.argv[1:]
    described = subprocess.run([lulld, "--describe-config"], capture_output=True, text=True, check=True).stdout
    print("\n".join(page(described, version)))


if __name__ == "__main__":
    main()
