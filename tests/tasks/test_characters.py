"""Next characters: the texts, their code, the two parts of a text, and the files they come from."""

from __future__ import annotations

import re

import numpy as np
import pytest

from kpflow_numerics._validation import InputError, InputTypeError
from kpflow_numerics.tasks import Characters, task_from_config
from kpflow_numerics.tasks._sentences import ADJECTIVES, NOUNS, VERBS, built_in_text, sentence
from kpflow_numerics.training import CrossEntropy, MeanSquaredError, loss_of_task

NOUN_PHRASE = rf"the (?:(?:{'|'.join(ADJECTIVES)}) )?(?:{'|'.join(NOUNS)})(s?)"
VERB = rf"(?:{'|'.join(VERBS)})(s?)"
SENTENCE = re.compile(rf"{NOUN_PHRASE}(?: that {VERB} {NOUN_PHRASE})? {VERB} {NOUN_PHRASE}\. ")


def part_of(task, batch):
    """Return the pieces of text that the trials are, inputs and last target together."""
    ends = [text[-1] for text in task.read(batch.targets)]
    return [text + end for text, end in zip(task.read(batch.inputs), ends, strict=True)]


@pytest.mark.parametrize("text", [None, "Ein Spaß, nicht wahr?\n" * 20])
def test_a_trial_is_a_stretch_of_the_text_and_its_targets_come_one_step_later(text):
    task = Characters(text, n_steps=12)
    whole = built_in_text() if text is None else text
    assert task.alphabet == "".join(sorted(set(whole)))
    for batch in (task.sample(30, rng=61), task.evaluation_batch(9)):
        np.testing.assert_array_equal(batch.inputs[:, 1:], batch.targets[:, :-1])
        for codes in (batch.inputs, batch.targets):
            assert set(np.unique(codes)) == {0.0, 1.0}
            np.testing.assert_array_equal(codes.sum(axis=2), 1.0)
        for stretch, place in zip(part_of(task, batch), batch.conditions["position"], strict=True):
            assert stretch == whole[place : place + 13]


def test_training_and_evaluation_have_no_character_in_common():
    text = "".join(chr(200 + index) for index in range(110))
    task = Characters(text, n_steps=4)
    trained = {c for stretch in part_of(task, task.sample(4000, rng=67)) for c in stretch}
    judged = {c for stretch in part_of(task, task.evaluation_batch(7)) for c in stretch}
    assert trained == set(text[:99])
    assert judged == set(text[99:])


def test_evaluation_trials_are_spread_over_the_places():
    task = Characters("abcdefghij" * 20, n_steps=4)
    assert task.evaluation_batch(16).conditions["position"].tolist() == list(range(180, 196))
    assert task.evaluation_batch(4).conditions["position"].tolist() == [180, 184, 188, 192]
    assert set(task.evaluation_batch(100).conditions["position"]) == set(range(180, 196))


def test_accuracy_counts_the_largest_output():
    task = Characters("abcd" * 30, n_steps=5)
    batch = task.evaluation_batch(4)
    outputs = batch.targets - 0.9 * batch.inputs
    assert task.accuracy(outputs, batch) == 1.0
    outputs[1, 2] = 2 * batch.inputs[1, 2]
    assert task.accuracy(outputs, batch) == 19 / 20


def test_sentences_are_those_described():
    rng = np.random.default_rng(71)
    found = [SENTENCE.fullmatch(sentence(rng)) for _ in range(4000)]
    assert all(found)
    singular = np.array([match[1] == "" for match in found])
    clause = np.array([match[2] is not None for match in found])
    for match in found:
        assert (match[4] == "s") == (match[1] == "")
        assert match[2] is None or (match[2] == "s") == (match[1] == "")
    deviation = 0.5 / len(found) ** 0.5
    for share in (singular, clause, [match[5] == "" for match in found]):
        assert abs(np.mean(share) - 0.5) < 5 * deviation
    assert len(built_in_text()) == 20_000
    assert len(SENTENCE.findall(built_in_text())) == built_in_text().count(". ")


def test_the_entropy_of_the_sentences_is_that_of_the_docstring():
    phrase = np.log(2) + np.log(2) + 0.5 * np.log(len(ADJECTIVES)) + np.log(len(NOUNS))
    nats = 2 * phrase + np.log(2) + 0.5 * (np.log(len(VERBS)) + phrase) + np.log(len(VERBS))
    rng = np.random.default_rng(73)
    lengths = [len(sentence(rng)) for _ in range(4000)]
    error = np.std(lengths) / len(lengths) ** 0.5
    stated = [float(x) for x in re.findall(
        r"([\d.]+) nats in\s+([\d.]+)\s+characters.*?below ([\d.]+) nats", Characters.__doc__, re.S
    )[0]]  # fmt: skip
    assert round(nats, 2) == stated[0]
    assert abs(np.mean(lengths) - stated[1]) < 5 * error
    assert round(stated[0] / stated[1], 3) == stated[2]
    text = built_in_text()
    counts = np.array([text.count(letter) for letter in Characters().alphabet]) / len(text)
    pairs = {text[at : at + 2] for at in range(len(text) - 1)}
    joint = np.array([len(re.findall(f"(?={re.escape(pair)})", text)) for pair in pairs])
    joint = joint / joint.sum()
    single = -np.sum(counts * np.log(counts))
    after = -np.sum(joint * np.log(joint)) - single
    wanted = [np.log(len(counts)), single, after]
    listed = re.findall(
        r"guesses is ([\d.]+).*?characters ([\d.]+),.*?hand ([\d.]+)\.", Characters.__doc__, re.S
    )[0]
    assert [f"{value:.2f}" for value in wanted] == list(listed)


def test_the_loss_is_the_task_s():
    assert loss_of_task(Characters()) == CrossEntropy()
    assert loss_of_task(Characters(loss="mean-squared-error")) == MeanSquaredError()
    with pytest.raises(InputError, match="loss must be one of 'cross-entropy', .* got 'mse'"):
        Characters(loss="mse")


def test_a_file_becomes_its_text(tmp_path):
    path = tmp_path / "text.txt"
    path.write_bytes("été\r\n".encode() * 30)
    task = task_from_config("characters", {"text_file": str(path), "n_steps": 7})
    assert task == Characters("été\n" * 30, n_steps=7)
    assert task.to_dict()["text"] == "été\n" * 30
    assert task.input_names == ("'\\n'", "'t'", "'\\xe9'")
    path.unlink()
    assert task_from_config(task.name, task.to_dict()).sample(2, rng=3).n_inputs == 3


@pytest.mark.parametrize(
    ("options", "error", "match"),
    [
        ({"text": 7}, InputTypeError, "text must be a string; got int"),
        ({"text_file": 7}, InputTypeError, "text_file must be a path; got int"),
        ({"text": "ab", "text_file": "x"}, InputError, "Give text or text_file, not both"),
        ({"text": "a" * 600}, InputError, "at least two different characters; it has 'a' only"),
        (
            {"text": "ab" * 30, "n_steps": 6},
            InputError,
            "text must have at least 70 characters.* n_steps = 6; it has 60. Give a longer text",
        ),
        ({"n_steps": 2000}, InputError, "text must have at least 20010 .* it has 20000"),
        ({"text_file": "nowhere.txt"}, InputError, "'nowhere.txt' cannot be read: No such file"),
        ({"text_file": "."}, InputError, "'.' cannot be read: Is a directory"),
    ],
)
def test_texts_that_cannot_be_used_are_refused(options, error, match):
    with pytest.raises(error, match=match):
        Characters(**options)


def test_a_file_that_is_no_text_is_refused(tmp_path):
    path = tmp_path / "image.png"
    path.write_bytes(b"\x89PNG\xff\xfe" * 100)
    with pytest.raises(InputError, match="image.png' is not text in UTF-8"):
        Characters(text_file=path)


def test_reading_refuses_other_channels():
    with pytest.raises(InputError, match=r"channels must have shape \(B, T, 17\); got \(2, 3\)"):
        Characters().read(np.ones((2, 3)))
