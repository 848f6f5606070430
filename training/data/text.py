"""Text of others: encodings as real tools write them, XML and JSON that cannot run away."""

import codecs
import json
import re
from pathlib import Path
from xml.etree import ElementTree

from harmonic_tf.training.data.problems import Unusable
from harmonic_tf.training.files import decode_marked, read_bytes, read_text

# Windows writes characters of the larger set under the smaller one's name.
LARGER = {"gb2312": "gb18030", "gbk": "gb18030", "shift_jis": "cp932"}
BEGINNING = 2**16
_DECLARED = re.compile(rb"""^\s*<\?xml[^>]*?\sencoding\s*=\s*["']([A-Za-z][\w.:-]*)["']""")


def read_json(file: Path):
    """A JSON file's content; a whole number of thousands of digits is an infinite one.

    Raises:
        ValueError: it is no JSON, or nested too deeply.
        OSError: it cannot be read.
    """
    text = read_text(file)
    try:
        return json.loads(text)
    except RecursionError:
        raise ValueError("nested too deeply") from None
    except json.JSONDecodeError:
        raise
    except ValueError:  # a number with more digits than Python reads
        return json.loads(text, parse_int=_whole)


def begins_with(file: Path, pattern: re.Pattern) -> bool:
    """Whether a pattern of bytes is found in a file's beginning; the rest may be broken, or large.

    UTF-16's zeros are left out.
    """
    if not file.is_file():  # a pipe may never end
        return False
    try:
        with file.open("rb") as stream:
            return bool(pattern.search(stream.read(BEGINNING).replace(b"\0", b"")))
    except OSError:
        return False


def _whole(digits: str) -> int | float:
    try:
        return int(digits)
    except ValueError:
        return float(digits)


def read_xml(file: Path) -> ElementTree.Element:
    """The root of an XML file, in any encoding that it names and Python decodes.

    Entities are refused wherever they are declared: a few lines of them can grow to gigabytes, or
    name other files, and no annotation tool writes them.

    Raises:
        Unusable: there is no such file, or it cannot be read.
    """
    try:
        content = read_bytes(file)
    except (FileNotFoundError, ValueError):  # ValueError: no file can have such a name
        raise Unusable("missing annotation file") from None
    except OSError as error:
        raise Unusable(f"unreadable annotation file: {error.strerror}") from None
    try:
        text = _xml_text(content)
        if "<!ENTITY" in text:
            raise Unusable("malformed XML: it declares entities, which are not read")
        return ElementTree.fromstring(text)
    except (ElementTree.ParseError, UnicodeError) as error:
        raise Unusable(f"malformed XML: {error}") from None
    except RecursionError:
        raise Unusable("malformed XML: nested too deeply") from None


def _xml_text(content: bytes) -> str:
    marked = decode_marked(content)
    if marked is not None:
        return marked
    declared = _DECLARED.match(content)
    name = declared[1].decode("ascii") if declared else "utf-8"
    try:
        encoding = codecs.lookup(name).name
        text = content.decode(LARGER.get(encoding, encoding))
        text.encode("utf-8")  # Some encodings let halves of characters through.
        return text
    except LookupError:
        raise Unusable(f"malformed XML: unknown encoding {name!r}") from None
    except UnicodeError as error:
        raise Unusable(f"malformed XML: not {name}: {error}") from None
