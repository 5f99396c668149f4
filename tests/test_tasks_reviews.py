"""Labelled sentences: the UCI form, CSV, vocabulary, padding, and bad files."""

import hashlib
import io
import logging
import re
import unicodedata
import zipfile
from pathlib import Path

import numpy as np
import pooch
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rnnjax.errors import UserError
from rnnjax.tasks import Reviews, length_buckets
from rnnjax.tasks.readers.labelled import read_labelled
from rnnjax.tasks.readers.sentiment import ARCHIVE, SHA256, sentence_files
from rnnjax.tasks.reviews import FIRST_WORD, NEUTRAL
from rnnjax.tasks.vocabulary import UNKNOWN, words_and_marks, words_of


UCI = 'Good "case", works.  \t1\nBad\x85sound\u2028here.\t0\n10/10  \t1\n'


def write(folder: Path, name: str, content: str | bytes) -> Path:
    """A file with exactly these bytes."""
    path = folder / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    """100 sentences of 1 to 30 words; `good` and `bad` decide."""
    rng = np.random.default_rng(2)
    lines = []
    for number in range(100):
        words = rng.choice(["the", "cat", "ate", "fish", f"rare{number}"], number % 30)
        lines.append(f"{' '.join(words)} {['bad', 'good'][number % 2]}\t{number % 2}")
    return write(tmp_path, "corpus.txt", "\n".join(lines))


@pytest.mark.parametrize(
    ("name", "content", "expected"),
    [
        (
            "a.txt",
            UCI,
            [
                ('Good "case", works.  ', 1),
                ("Bad\x85sound\u2028here.", 0),
                ("10/10  ", 1),
            ],
        ),
        ("a.txt", "tab\tinside\t0\r\n\r\nlast line without end\t1",
         [("tab\tinside", 0), ("last line without end", 1)]),
        ("a.tsv", "sentence\tlabel\nfine, really\t1\n", [("fine, really", 1)]),
        ("a.csv", 'text,label\n"good, ""very"" good",1\nbad,0\n',
         [('good, "very" good', 1), ("bad", 0)]),
        ("a.csv", '"two\nlines", 1\nbad,0', [("two\nlines", 1), ("bad", 0)]),
        ("a.txt", "no tabs here,1\n", [("no tabs here", 1)]),
        ("a.csv", b"\xef\xbb\xbftext,Sentiment\ngood,1\n", [("good", 1)]),
        ("a.csv", b'\xef\xbb\xbfreview,sentiment\r\n"so, so",positive\r\nbad,Negative',
         [("so, so", "positive"), ("bad", "negative")]),
        ("a.tsv", "comment\tmood\nwell\tcalm\nno\tsad\n",
         [("well", "calm"), ("no", "sad")]),
    ],
)  # fmt: skip
def test_forms_of_files(
    tmp_path: Path, name: str, content: str, expected: list[tuple[str, int]]
) -> None:
    assert read_labelled(write(tmp_path, name, content)) == expected


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.txt", "", "is empty"),
        ("a.txt", " \n\n", "is empty"),
        ("a.csv", "text,label\n", "is empty"),
        ("a.txt", "good\t1\nno label\n", "line 2 has no label"),
        ("a.txt", "no label at all\n", "line 1 has no label"),
        ("a.txt", "good\t1\n\nbad\t\n", "line 3 has no label"),
        ("a.csv", "good,1\nbad\n", "line 2 has no label"),
        ("a.csv", "good,1\nbad,\n", "line 2 has no label"),
        ("a.txt", "good\t1\nbad\t2\n", "line 2: label '2' is not a class"),
        ("a.txt", "good\t1\nbad\tno\n", "line 2: label 'no' is not a class"),
        ("a.txt", "good\t1\nlast\tlabel\n", "line 2: label 'label' is not a class"),
        ("a.csv", "good,1\nso, so,0\n", "line 2 has 3 columns"),
        ("a.csv", 'good,1\n"open,0\n', "line 2: "),
        ("a.txt", "good\t1\n\t0\n", "line 2 has no text"),
        (
            "a.csv",
            "good,1\n ,0\nbad,0\n,1\n",
            "2 lines have no text before their label"
            " (2, 4); task.skip_empty=true skips such lines",
        ),
        ("a.txt", "good\tpositive\nbad\t0\n", "line 2: label '0' is a number"),
        ("a.txt", "good\t3\nbad\t0\n", "line 1: label '3' is not a class"),
        (
            "a.csv",
            "sentiment,review\n1,good\n",
            "line 1: the columns are sentiment and review; the text must come first",
        ),
        (
            "a.csv",
            "positive,so fine\nnegative,so bad\npositive,so good\n" * 3 + "1,a\n1,b\n",
            "5 different labels for 11 sentences",
        ),
        ("a.txt", "1 2 3 4\t0\n5 6 seven\t1\n" * 9, "only 9 of 63 pieces of text are"),
        (
            "a.txt",
            "".join(f"word{i}a word{i}b\t{i % 2}\n" for i in range(4000)),
            "words are not in the vocabulary; raise task.max_vocabulary",
        ),
        ("a.txt", b"good\t1\nbad\t0\ncaf\xe9\t1\n", "line 3: byte 0xe9 is not UTF-8"),
        ("a.txt", b"\xff\xfeg\x00", "line 1: byte 0xff is not UTF-8"),
        ("a.txt", "good\t1\nbad\t0\n", "2 examples; a split needs at least 3"),
        ("a.txt", "good\t1\n" * 30, "all 24 training sentences have label 1"),
    ],
)
def test_bad_files_are_named_by_line(
    tmp_path: Path, name: str, content: str | bytes, message: str
) -> None:
    path = write(tmp_path, name, content)
    with pytest.raises(UserError) as caught:
        Reviews(path=str(path)).load()
    assert message in str(caught.value) and "\n" not in str(caught.value)
    assert str(caught.value).startswith(str(path))


@settings(deadline=None)
@given(st.text(max_size=40))
def test_words_are_lower_case_and_hold_a_letter(text: str) -> None:
    words = words_of(text)
    assert all(word == word.lower() for word in words)
    assert all(any(letter.isalpha() for letter in word) for word in words)
    assert not any(letter.isspace() for word in words for letter in word)
    assert words_of(" ".join(words)) == words


@settings(deadline=None)
@given(st.text("abYZ09'_-.,/ \t\r\n", max_size=40))
def test_words_of_ascii_are_what_they_always_were(text: str) -> None:
    lower = text.lower()
    assert words_of(text) == re.findall("[a-z0-9']*[a-z][a-z0-9']*", lower)
    assert words_and_marks(text) == re.findall(r"[a-z0-9']+|[^\sa-z0-9']", lower)


WRITTEN = {
    "Фильм ОТЛИЧНЫЙ!": ["фильм", "отличный"],
    "Cafe\u0301, caf\u00e9": ["café", "café"],
    "don\u2019t d\u02bcor": ["don't", "d'or"],
    "one<br />two<BR>three": ["one", "two", "three"],
    "हिन्दी किताब": ["हिन्दी", "किताब"],
    "won\u00adder\ufeff a\u200bb": ["wonder", "a", "b"],
    "٣ 10½ x² _a_": ["x²", "a"],
    "İstanbul Straße ΟΔΟΣ": ["i̇stanbul", "straße", "οδος"],
}


@pytest.mark.parametrize("text", WRITTEN)
def test_words_of_any_script(text: str) -> None:
    assert words_of(text) == WRITTEN[text]
    assert words_of(unicodedata.normalize("NFD", text)) == WRITTEN[text]


def test_reviews_in_any_script_are_learned(tmp_path: Path) -> None:
    lines = [f"Фильм {'отличный' if i % 2 else 'ужасный'}\t{i % 2}" for i in range(60)]
    task = Reviews(path=str(write(tmp_path, "ru.tsv", "\n".join(lines))))
    assert task.vocabulary()[FIRST_WORD:] == ("фильм", "отличный", "ужасный")
    assert task.bag_of_words().test == 1.0


def test_labels_by_name_are_numbered_in_order(tmp_path: Path) -> None:
    lines = [f"so {'fine' if i % 2 else 'bad'},{'positive' if i % 2 else 'Negative'}"
             for i in range(40)]  # fmt: skip
    task = Reviews(path=str(write(tmp_path, "a.csv", "\n".join(lines))))
    data = task.load()
    assert data["labels"].tolist() == [0, 1] * 20
    assert task.spec(data).classes == ("negative", "positive")
    numbered = "\n".join(line.replace("positive", "1") for line in lines)
    write(tmp_path, "b.csv", numbered.replace("Negative", "0"))
    other = Reviews(path=str(tmp_path / "b.csv"))
    assert other.spec(other.load()).classes == ("0", "1")
    assert all(np.array_equal(data[key], other.load()[key]) for key in data)
    with pytest.raises(UserError, match="some labels are 0 or 1, others are names"):
        Reviews(path=str(tmp_path)).load()


def test_lines_without_text_are_left_out_on_demand(tmp_path: Path) -> None:
    kept = [f"so {'fine' if i % 2 else 'bad'}\t{i % 2}" for i in range(20)]
    plain = Reviews(path=str(write(tmp_path, "a.txt", "\n".join(kept)))).load()
    gaps = "\n".join(line + "\n \t1" for line in kept)
    path = str(write(tmp_path, "b.txt", gaps))
    with pytest.raises(UserError, match=r"20 lines .*\(2, 4, 6, .*20, …\)"):
        Reviews(path=path).load()
    found = Reviews(path=path, skip_empty=True).load()
    assert all(np.array_equal(found[key], plain[key]) for key in plain)


def test_words_that_training_never_saw_are_said(tmp_path: Path) -> None:
    lines = [f"word{i}\t{i % 2}" for i in range(40)]
    path = write(tmp_path, "a.txt", "\n".join(lines))
    with pytest.warns(UserWarning, match="8 of 8 words in the validation and test"):
        Reviews(path=str(path)).load()


@pytest.mark.filterwarnings("ignore:.*do not occur in the training part")
def test_unknown_words_and_sentences_without_words(tmp_path: Path) -> None:
    lines = [f"good thing{i}\t{i % 2}" for i in range(19)] + ["10/10\t1"]
    task = Reviews(path=str(write(tmp_path, "a.txt", "\n".join(lines))))
    data = task.load()
    assert data["tokens"][19, 0] == UNKNOWN and data["words"][19] == 1
    training = {word for row in data["train"] for word in words_of(lines[row])}
    assert set(task.vocabulary()[FIRST_WORD:]) == training
    assert task.vocabulary()[FIRST_WORD] == "good"
    row = int(data["validation"][0])
    expected = ["<unknown>"] if row == 19 else ["good", "<unknown>"]
    assert task.words(data["tokens"][row])[: len(expected)] == expected


def test_vocabulary_is_cut_by_frequency(corpus: Path) -> None:
    task = Reviews(path=str(corpus), max_vocabulary=FIRST_WORD + 4)
    frequent = task.vocabulary()[FIRST_WORD:]
    assert len(frequent) == 4 and not any(word.startswith("rare") for word in frequent)
    assert task.spec(task.load()).vocabulary == FIRST_WORD + 4


def test_shapes_do_not_depend_on_the_split_and_rows_do(corpus: Path) -> None:
    tasks = [Reviews(path=str(corpus), split=seed) for seed in (0, 1)]
    one, other = (task.load() for task in tasks)
    assert {key: a.shape for key, a in one.items()} == {
        key: a.shape for key, a in other.items()
    }
    assert not np.array_equal(one["train"], other["train"])
    specs = [task.spec(task.load()) for task in tasks]
    assert specs[0].vocabulary == specs[1].vocabulary and specs[0].length == 30


def test_padding_follows_the_sentence(corpus: Path) -> None:
    plain, padded = Reviews(path=str(corpus)), Reviews(path=str(corpus), pad=7)
    before = plain.heldout("test", 10, plain.load())
    after = padded.heldout("test", 10, padded.load())
    assert np.array_equal(after.lengths, before.lengths + 7)
    assert np.array_equal(after.targets, before.targets)
    assert after.inputs.shape[0] == before.inputs.shape[0] + 7
    for column in range(10):
        words = int(before.lengths[column])
        tokens = np.asarray(after.inputs[:, column])
        assert np.array_equal(tokens[:words], before.inputs[:words, column])
        assert set(padded.words(tokens[words : words + 7])) <= set(NEUTRAL)
        assert not tokens[words + 7 :].any()
        assert np.flatnonzero(after.informative[:, column]).tolist() == [*range(words)]
    assert plain.spec(plain.load()).baseline == padded.spec(padded.load()).baseline


def test_length_cuts_the_end_of_a_sentence(corpus: Path) -> None:
    whole, cut = Reviews(path=str(corpus)), Reviews(path=str(corpus), length=12, pad=2)
    tokens, words = cut.load()["tokens"], cut.load()["words"]
    assert tokens.shape == (100, 12) and words.max() == 10
    row = int(np.argmax(whole.load()["words"]))
    first = words_of(corpus.read_text().split("\n")[row])[:10]
    read = zip(cut.words(tokens[row, :10]), first, strict=True)
    assert all(word in ("<unknown>", original) for word, original in read)
    assert (tokens[row, 10:] >= 2).all() and (tokens[row, 10:] < FIRST_WORD).all()


@pytest.mark.filterwarnings("ignore:.*do not occur in the training part")
def test_baseline_is_the_majority_of_the_training_split(tmp_path: Path) -> None:
    lines = [f"word{i}\t{int(i % 4 == 0)}" for i in range(40)]
    task = Reviews(path=str(write(tmp_path, "a.txt", "\n".join(lines))))
    data = task.load()
    share = np.mean([row % 4 != 0 for row in data["train"]])
    spec = task.spec(data)
    assert spec.baseline == pytest.approx(share)
    entropy = -share * np.log(share) - (1 - share) * np.log(1 - share)
    assert spec.baseline_loss == pytest.approx(entropy)


def test_bag_of_words_solves_what_one_word_decides(corpus: Path) -> None:
    result = Reviews(path=str(corpus)).bag_of_words()
    assert result.validation >= 0.9 and result.test >= 0.9
    assert Reviews(path=str(corpus), pad=9).bag_of_words() == result


def test_length_buckets_count_short_and_long() -> None:
    buckets = length_buckets(np.array([1, 8, 9, 24, 25]))
    assert buckets.index.tolist() == [0, 0, 1, 1, 2]
    assert buckets.counts == (2, 2, 1) and len(buckets.labels) == 3


def test_a_changed_file_is_read_again(tmp_path: Path) -> None:
    path = write(tmp_path, "a.txt", "good one\t1\nbad\t0\n" * 10)
    task = Reviews(path=str(path))
    assert len(task.load()["labels"]) == 20
    write(tmp_path, "a.txt", "good one\t1\nbad\t0\n" * 11)
    assert len(task.load()["labels"]) == 22


def test_files_of_a_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "sentiment"
    folder.mkdir()
    for name in ("yelp_labelled.txt", "imdb_labelled.txt", "readme.txt", "x.log"):
        write(folder, name, "good\t1\n")
    names = lambda files: [file.name for file in files]
    expected = ["imdb_labelled.txt", "yelp_labelled.txt"]
    assert names(sentence_files(str(folder), "all")) == expected
    assert names(sentence_files(str(folder), "yelp")) == ["yelp_labelled.txt"]
    monkeypatch.setenv("RNNJAX_DATA", str(tmp_path))
    assert names(sentence_files(None, "imdb")) == ["imdb_labelled.txt"]
    with pytest.raises(UserError, match="no .txt, .tsv or .csv file whose name starts"):
        sentence_files(None, "amazon")
    with pytest.raises(UserError, match="use task.files=all"):
        sentence_files(str(folder / "readme.txt"), "imdb")
    with pytest.raises(UserError, match="cannot read .*gone.txt: No such file"):
        Reviews(path=str(tmp_path / "gone.txt")).load()


def test_without_network_the_place_for_files_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def offline(*_: object, **__: object) -> list[str]:
        raise ConnectionError("no route to host\nat all")

    monkeypatch.setenv("RNNJAX_DATA", str(tmp_path))
    monkeypatch.setattr(pooch, "retrieve", offline)
    with pytest.raises(UserError) as caught:
        Reviews().load()
    message = str(caught.value)
    assert "no route to host" in message and "\n" not in message
    assert "yelp_labelled.txt into the folder $RNNJAX_DATA/sentiment" in message


PORTAL = b"<html><title>Sign in to use this network</title></html>"


def archive_of(files: dict[str, bytes]) -> bytes:
    """A zip archive such as the one that is downloaded, in a folder of its own."""
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as archive:
        for name, text in files.items():
            archive.writestr(f"sentiment labelled sentences/{name}", text)
            archive.writestr(f"__MACOSX/._{name}", b"resource fork")
    return content.getvalue()


class Site:
    """Stands for the site: `answers` one after the other, the last one for ever."""

    def __init__(self, cache: Path) -> None:
        self.cache = cache
        self.files = {name: f"{UCI}{name}\t1\n".encode() for name in SHA256}
        self.answers = [archive_of(self.files)]
        self.asked = 0

    def fetch(self, _: object, url: str, file: str, *__: object) -> None:
        self.asked += 1
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        Path(file).write_bytes(answer)

    def kept(self) -> set[str]:
        return {file.name for file in self.cache.rglob("*") if file.is_file()}


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Site:
    """No data folder, an empty cache, and a site with other files of the same names."""
    site = Site(tmp_path / "cache")
    monkeypatch.delenv("RNNJAX_DATA", raising=False)
    monkeypatch.setattr(pooch, "os_cache", lambda _: site.cache)
    monkeypatch.setattr(
        pooch.HTTPDownloader, "__call__", lambda *given, **_: site.fetch(*given)
    )
    for name, content in site.files.items():
        monkeypatch.setitem(SHA256, name, hashlib.sha256(content).hexdigest())
    return site


def test_a_download_is_kept_once_it_is_checked(site: Site) -> None:
    files = sentence_files(None, "all")
    assert {file.name: file.read_bytes() for file in files} == site.files
    assert sentence_files(None, "imdb") == [files[1]] and site.asked == 1
    assert pooch.get_logger().level == logging.WARNING
    files[1].write_bytes(b"torn")  # mended from the archive, without a network
    assert sentence_files(None, "imdb")[0].read_bytes() == site.files[files[1].name]
    assert site.asked == 1


def bad_answers(files: dict[str, bytes]) -> dict[str, tuple[bytes, str]]:
    """What a site may answer instead, and what is said of it."""
    whole, some = archive_of(files), dict(files)
    name, content = some.popitem()
    changed = bytes([content[0] ^ 1]) + content[1:]
    return {
        "portal": (PORTAL, "not a zip archive.*Sign in"),
        "empty": (b"", "not a zip archive, it begins with ''"),
        "torn": (whole[: len(whole) // 2], "not a zip archive"),
        "flipped": (whole.replace(b"works", b"workz"), "not a zip archive"),
        "without": (archive_of(some), f"does not contain {name}"),
        "other": (
            archive_of(some | {name: changed}),
            f"{name} has an unknown checksum",
        ),
        "huge": (archive_of(some | {name: b"0" * 2**21}), f"does not contain {name}"),
    }


KINDS_OF_ANSWERS = tuple(bad_answers({"a": b"some text"}))


@pytest.mark.parametrize("kind", KINDS_OF_ANSWERS)
def test_another_answer_is_named_and_not_kept(kind: str, site: Site) -> None:
    wrong, message = bad_answers(site.files)[kind]
    site.answers = [wrong, archive_of(site.files)]
    with pytest.raises(UserError, match=message) as caught:
        sentence_files(None, "all")
    assert "\n" not in str(caught.value) and "set task.path" in str(caught.value)
    assert not site.kept()
    assert len(sentence_files(None, "all")) == 3 and site.asked == 2


@pytest.mark.parametrize("kind", KINDS_OF_ANSWERS)
def test_what_an_older_version_kept_is_removed(kind: str, site: Site) -> None:
    wrong, _ = bad_answers(site.files)[kind]
    site.cache.mkdir()
    (site.cache / ARCHIVE).write_bytes(wrong)
    with pytest.warns(UserWarning, match=f"removed .*{ARCHIVE}"):
        files = sentence_files(None, "all")
    assert {file.name: file.read_bytes() for file in files} == site.files
    (site.cache / ARCHIVE).write_bytes(PORTAL)
    assert sentence_files(None, "all") == files and site.asked == 1


@pytest.mark.parametrize("place", ["file", "loop", "long"])
def test_a_cache_that_cannot_be_made(
    place: str, site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("no folder")
    (tmp_path / "loop").symlink_to("loop")
    inside = tmp_path / ("x" * 300 if place == "long" else place) / "rnnjax"
    monkeypatch.setattr(pooch, "os_cache", lambda _: inside)
    with pytest.raises(UserError, match=f"cannot download .*{place[:1]}.*task.path"):
        sentence_files(None, "all")


def test_the_real_files(rnnjax_data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if not (rnnjax_data / "sentiment").is_dir():
        pytest.skip("the data folder has no sentiment")
    monkeypatch.setenv("RNNJAX_DATA", str(rnnjax_data))
    for file in sentence_files(None, "all"):
        assert hashlib.sha256(file.read_bytes()).hexdigest() == SHA256[file.name]
        assert [label for _, label in read_labelled(file)].count(1) == 500
    task = Reviews()
    data = task.load()
    assert data["tokens"].shape == (3000, 73)
    assert [len(data[part]) for part in ("train", "validation", "test")] == [
        2400, 300, 300,
    ]  # fmt: skip
    assert np.sum(data["tokens"][data["words"] == 1][:, 0] == UNKNOWN) >= 2
    assert length_buckets(data["words"]).counts == (1240, 1558, 202)
    assert np.sum(data["words"] >= 50) == 7
    assert task.bag_of_words().test > 0.75


def test_labels_that_look_alike_are_one_class(tmp_path: Path):
    """Composed or not, with characters that show nothing; a header is no class."""
    names = ["réussi", "re\u0301ussi", "RÉUSSI\u200b", "raté"]
    rows = [f"words {i % 5},{names[i % 4]}\n" for i in range(40)]
    file = tmp_path / "a.csv"
    file.write_text("".join(rows), encoding="utf-8")
    assert {label for _, label in read_labelled(file)} == {"réussi", "raté"}
    file.write_text("tweet,mood\n" + "".join(rows), encoding="utf-8")
    with pytest.raises(UserError, match="label 'mood' in the first line occurs no"):
        read_labelled(file)
