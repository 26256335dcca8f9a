"""A Llama of any size on the bytes of a file, by Hugging Face's Trainer with all its arguments.

    python hf_train.py --width 32 --depth 2 --train train.bin --validation validation.bin \
        --output_dir out --max_steps 100 --learning_rate 3e-3 ...

Nothing in it knows of a planner but one habit: what the Trainer logs is printed as JSON too.
"""

from __future__ import annotations

import json
import signal
from dataclasses import dataclass

import numpy as np
import torch
from transformers import (
    HfArgumentParser,
    LlamaConfig,
    LlamaForCausalLM,
    Trainer,
    TrainerCallback,
    TrainingArguments,
)


@dataclass
class Model:
    width: int
    depth: int
    train: str
    validation: str
    context: int = 64


class Windows(torch.utils.data.Dataset):
    """The windows of a file of bytes, one after the other."""

    def __init__(self, file: str, length: int, most: int) -> None:
        self.bytes, self.length = np.memmap(file, np.uint8, "r"), length
        self.count = min(most, len(self.bytes) // length)

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, index: int) -> dict[str, torch.Tensor]:
        piece = self.bytes[index * self.length : (index + 1) * self.length]
        ids = torch.from_numpy(piece.astype(np.int64))
        return {"input_ids": ids, "labels": ids}


class Tell(TrainerCallback):
    """Prints every log as JSON; on SIGTERM lets the Trainer save and stop."""

    leave = False

    def on_log(self, args, state, control, logs=None, **kwargs) -> None:
        print(json.dumps({"step": state.global_step, **logs}), flush=True)

    def on_step_end(self, args, state, control, **kwargs) -> None:
        if self.leave:
            control.should_save = control.should_training_stop = True


def main() -> None:
    model, args = HfArgumentParser((Model, TrainingArguments)).parse_args_into_dataclasses()
    signal.signal(signal.SIGTERM, lambda *_: setattr(Tell, "leave", True))
    torch.manual_seed(args.seed)
    shape = {"hidden_size": model.width, "intermediate_size": 2 * model.width}
    shape |= {"num_hidden_layers": model.depth, "num_attention_heads": 2, "vocab_size": 256}
    config = LlamaConfig(**shape, max_position_embeddings=model.context)
    llama = LlamaForCausalLM(config)
    print(json.dumps({"params": sum(p.numel() for p in llama.parameters())}), flush=True)
    data = (
        Windows(model.train, model.context, 1 << 20),
        Windows(model.validation, model.context, 512),
    )
    trainer = Trainer(llama, args, train_dataset=data[0], eval_dataset=data[1], callbacks=[Tell()])
    trainer.train(resume_from_checkpoint=args.resume_from_checkpoint)
    if Tell.leave:
        raise SystemExit("asked to leave; the state is saved")
    trainer.evaluate()


if __name__ == "__main__":
    main()
