"""Whether a package may be trained on, by its own metadata."""
import re
from email.parser import Parser

PERMISSIVE = re.compile(
    r"\b(MIT|BSD|0BSD|Apache|ISC|PSF|Python Software Foundation|Unlicense|Public Domain|CC0|Zlib|HPND|BSL-1\.0|Boost)\b", re.I
)
# Anything of these in the words about the licence is enough to leave a package out.
OTHERS = re.compile(r"GPL|General Public|MPL|Mozilla|EUPL|CeCILL|CDDL|EPL|Eclipse|Proprietary|Commercial|Non-?Commercial", re.I)


def licence_of(metadata: str) -> str:
    """What METADATA or PKG-INFO says: the expression, the short field, and classifiers; of whole texts the first line."""
    fields = Parser().parsestr(metadata, headersonly=True)
    parts = [f"{name}: {value.strip().splitlines()[0]}" for name in ("License-Expression", "License")
             if (value := fields.get(name, "").strip()) and value != "UNKNOWN"]
    parts += [f"Classifier: {value}" for value in fields.get_all("Classifier", []) if value.startswith("License ::")]
    return " ".join(parts)[:120]


def is_permissive(licence: str) -> bool:
    return bool(PERMISSIVE.search(licence)) and not OTHERS.search(licence)
