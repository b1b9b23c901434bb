"""Small sound files of every format that `model-zoo inspect` reads: what hostile ones are made from.

python seeds.py FOLDER
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np


def write_seeds(folder: Path) -> None:
    """Write one file for each format; names tell which."""
    import onnx
    import torch
    from onnx import helper, numpy_helper
    from safetensors.torch import save_file

    torch.manual_seed(0)
    network = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3), torch.nn.BatchNorm2d(4), torch.nn.ReLU()).eval()
    state = network.state_dict()
    picture = torch.zeros(1, 3, 8, 8)
    torch.save({"state_dict": state, "epoch": 3, "note": "a name"}, folder / "torch_zip.pt")
    torch.save(network, folder / "torch_module.pt")
    torch.save(state, folder / "torch_legacy.pt", _use_new_zipfile_serialization=False)
    torch.jit.trace(network, picture).save(folder / "torchscript.pt")
    torch.export.save(torch.export.export(network, (picture,)), folder / "exported_program.pt2")
    save_file(state, folder / "safetensors.safetensors", metadata={"format": "pt"})
    np.savez(folder / "npz.npz", **{name: tensor.numpy() for name, tensor in state.items()})
    np.savez_compressed(folder / "npz_compressed.npz", weight=np.ones((64, 64), np.float32))
    weight = numpy_helper.from_array(np.ones((4, 3, 3, 3), np.float32), "weight")
    ends = [
        helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, [1, channels, size, size])
        for name, channels, size in (("image", 3, 8), ("features", 4, 6))
    ]
    conv = helper.make_node("Conv", ["image", "weight"], ["features"], "conv")
    model = helper.make_model(helper.make_graph([conv], "graph", ends[:1], ends[1:], [weight]))
    helper.set_model_props(model, {"author": "nobody"})
    onnx.save(model, folder / "onnx.onnx")
    (folder / "tflite.tflite").write_bytes(_tflite())
    index = {"metadata": {}, "weight_map": dict.fromkeys(state, "safetensors.safetensors")}
    (folder / "sharded.safetensors.index.json").write_text(json.dumps(index))


def _tflite() -> bytes:
    """One tensor with values, in one graph with one signature."""
    import flatbuffers
    from ai_edge_litert import schema_py_generated as schema

    data = np.ones(4, np.float32).view(np.uint8)
    buffers = [schema.BufferT(), schema.BufferT(data=data)]
    tensor = schema.TensorT(name="weight", shape=[4], buffer=1, type=schema.TensorType.FLOAT32)
    graph = schema.SubGraphT(tensors=[tensor], inputs=[0], outputs=[0], operators=[], name="main")
    ends = [schema.TensorMapT(name="x", tensorIndex=0)]
    signature = schema.SignatureDefT(inputs=ends, outputs=ends, signatureKey="serving_default", subgraphIndex=0)
    model = schema.ModelT(
        version=3, subgraphs=[graph], buffers=buffers, operatorCodes=[], description="seed", signatureDefs=[signature]
    )
    builder = flatbuffers.Builder(1024)
    builder.Finish(model.Pack(builder), b"TFL3")
    return bytes(builder.Output())


if __name__ == "__main__":
    write_seeds(Path(sys.argv[1]))
