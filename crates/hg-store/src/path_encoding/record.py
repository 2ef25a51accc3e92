# Records stock's answers for tests.rs: run with a Python that has Mercurial, in this folder.
# names.txt: name and encoded name, escaped; digests.txt: SHA-1 over 1000 encoded names each, of generated names.
import hashlib

from mercurial import store

TOKENS = [
    b"aux", b"con.", b"com1", b"lpt9.x", b"prn", b"nul", b"com0", b"COM2", b".", b"..", b" ", b"_", b"A", b"Zz", b"~",
    b"\x7f", b"\xe9", b"\x01", b":", b"\\", b"*?", b".i", b".d", b".hg", b"longer word", b"x", b"7", b"~7e", b"-", b"'\"<>|",
]


class Numbers:
    def __init__(self, seed):
        self.state = seed

    def below(self, bound):
        self.state = (self.state * 6364136223846793005 + 1442695040888963407) % 2**64
        return (self.state >> 33) % bound


def name(numbers):
    parts = []
    for _ in range(1 + numbers.below(7)):
        parts.append(b"".join(TOKENS[numbers.below(len(TOKENS))] for _ in range(1 + numbers.below(9))))
    return b"data/" + b"/".join(parts) + (b".i", b".d")[numbers.below(2)]


def escape(name):
    return "".join(chr(c) if 32 < c < 127 and c != 92 else "\\x%02x" % c for c in name)


encode = store._pathencode
numbers = Numbers(1)
with open("names.txt", "w") as names:
    for _ in range(250):
        plain = name(numbers)
        print(escape(plain), escape(encode(plain)), file=names)
OTHERS = {"fncache": store._plainhybridencode, "store": store.encodefilename, "plain": store.encodedir}
for suffix, encode, seeds in [("", encode, 60)] + [("-" + key, encode, 5) for key, encode in OTHERS.items()]:
    with open("digests%s.txt" % suffix, "w") as digests:
        for seed in range(2, 2 + seeds):
            numbers, digest = Numbers(seed), hashlib.sha1()
            for _ in range(1000):
                digest.update(encode(name(numbers)) + b"\n")
            print(digest.hexdigest(), file=digests)
