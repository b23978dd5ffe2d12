"""Event files, read back with TensorBoard's own reader."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from mtrl.runs.metric_log import MetricLog, read_jsonl


def read(folder: Path) -> Any:
    found = EventAccumulator(str(folder))
    found.Reload()
    return found


def write(folder: Path, **options: Any) -> MetricLog:
    return MetricLog(folder, ["left", "right"], parts=("critic", "actor"), **options)


def counters(env_steps: int) -> dict[str, int]:
    return {"env_steps": env_steps, "updates": 1, "episodes": 0}


def test_an_evaluation_stands_at_the_step_that_it_measured(tmp_path: Path) -> None:
    log = write(tmp_path)
    log.write(counters(117) | {"evaluated_at": 100}, {"eval/mean_success_rate": 0.5})
    log.write(counters(120), {"losses/critic": [1.0, 2.0]})
    log.close()
    found = read(tmp_path)
    assert [(e.step, e.value) for e in found.Scalars("eval/mean_success_rate")] == [(100, 0.5)]
    assert [(e.step, e.value) for e in found.Scalars("losses/critic/right")] == [(120, 2.0)]


def test_groups_are_by_part_and_the_log_keeps_its_names(tmp_path: Path) -> None:
    log = write(tmp_path)
    values = {
        "balance/weight/critic": [0.5, 1.5],
        "balance/weight/actor": [1.0, 1.0],
        "balance/cos_min/actor": -0.5,
        "balance/weight": [1.0, 2.0],  # a supervised run has no parts
        "losses/critic": [1.0, 2.0],
    }
    log.write(counters(1), values)
    log.close()
    assert set(read(tmp_path).Tags()["scalars"]) == {
        "balance_critic/weight/left", "balance_critic/weight/right",
        "balance_actor/weight/left", "balance_actor/weight/right", "balance_actor/cos_min",
        "balance/weight/left", "balance/weight/right", "losses/critic/left", "losses/critic/right",
    }  # fmt: skip
    (record,) = read_jsonl(tmp_path / "metrics.jsonl")
    assert {"balance/weight/critic/left", "balance/cos_min/actor"} <= set(record)


def test_the_configuration_is_a_text_and_hyperparameters(tmp_path: Path) -> None:
    (tmp_path / "config.yaml").write_text(
        "method: pivrg\nsac: {actor_lr: 0.001}\nenv: {tasks: [a, b], fast: true}\n"
    )
    log = write(tmp_path)
    log.close()
    found = read(tmp_path)
    (text,) = found.Tensors("config/text_summary")
    assert b"method: pivrg" in text.tensor_proto.string_val[0]
    from tensorboard.plugins.hparams import metadata

    content = found.summary_metadata[metadata.SESSION_START_INFO_TAG].plugin_data.content
    values = metadata.parse_session_start_info_plugin_data(content).hparams
    assert values["method"].string_value == "pivrg"
    assert values["sac.actor_lr"].number_value == 0.001
    assert values["env.tasks"].string_value == '["a", "b"]'
    assert values["env.fast"].string_value == "true"


def test_a_run_that_goes_on_writes_its_configuration_once(tmp_path: Path) -> None:
    (tmp_path / "config.yaml").write_text("method: ls\n")
    log = write(tmp_path)
    log.write(counters(5), {"losses/x": 1.0})
    state = log.state_dict()
    log.write(counters(6), {"losses/x": 2.0})
    log.close()
    time.sleep(1.1)  # the names of event files count seconds
    log = write(tmp_path)
    log.load_state_dict(state)
    log.write(counters(7), {"losses/x": 3.0})
    log.close()
    found = read(tmp_path)
    assert len(found.Tensors("config/text_summary")) == 1
    assert [(e.step, e.value) for e in found.Scalars("losses/x")] == [(5, 1.0), (7, 3.0)]
