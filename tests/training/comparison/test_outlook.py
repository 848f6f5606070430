"""How much longer: by hand, with a clock of one's own."""

from types import SimpleNamespace

import pytest

from harmonic_tf.training.comparison.outlook import Outlook, epochs_done


def write_epochs(folder, count):
    folder.mkdir(exist_ok=True)
    (folder / "history.csv").write_text("epoch,loss\n" + "1,2.0\n" * count)


@pytest.fixture
def case(tmp_path):
    """Two runs of 10 epochs; the second has done 4 of them before."""
    folders = [tmp_path / "a", tmp_path / "b"]
    write_epochs(folders[1], 4)
    now = [100.0]
    runs = {folder: SimpleNamespace(epochs=10) for folder in folders}
    outlook = Outlook(runs, clock=lambda: now[0])
    for folder in folders:
        outlook.begin(folder)
    return outlook, folders, now


def test_nothing_is_known_before_the_first_epoch(case):
    outlook, (a, b), now = case
    now[0] += 50
    assert outlook.left((a, b)) is outlook.left_of(a) is outlook.left_of(b) is None
    assert outlook.seconds(a) == 50


def test_each_at_its_own_pace_and_all_at_that_of_all(case):
    """In 60 s run a did 2 epochs (30 s each) and b 3 more (20 s each): 12 s for one of either."""
    outlook, (a, b), now = case
    now[0] += 60
    write_epochs(a, 2)
    write_epochs(b, 7)
    assert outlook.left_of(a) == 30 * 8 and outlook.left_of(b) == 20 * 3
    # 8 and 3 epochs are left: 132 s at the pace of both. But a alone takes 240 s.
    assert outlook.left() == pytest.approx(12 * 11)
    assert outlook.left((a, b)) == 240


def test_what_is_finished_takes_no_more(case):
    outlook, folders, now = case
    now[0] += 60
    for folder in folders:
        write_epochs(folder, 10)
    assert outlook.left(folders) == outlook.left_of(folders[0]) == 0


def test_epochs_without_a_history_and_with_its_head_alone(tmp_path):
    assert epochs_done(tmp_path) == 0
    write_epochs(tmp_path, 0)
    assert epochs_done(tmp_path) == 0
