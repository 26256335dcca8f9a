"""A Llama of any size on the bytes of a file, by Hugging Face's Trainer with all its arguments.

python hf_train.py --width 32 --depth 2 --train train.bin --validation validation.bin ...
"""

import json
import signal
from dataclasses import dataclass

import numpy as np
import torch
import transformers as hf


@dataclass
class Model:
    width: int
    depth: int
    train: str
    validation: str
    context: int = 64


class Tell(hf.TrainerCallback):
    """Prints every log as JSON; on SIGTERM lets the Trainer save and stop."""

    leave = False

    def on_log(self, args, state, control, logs=None, **kwargs) -> None:
        print(json.dumps({"step": state.global_step, **logs}), flush=True)

    def on_step_end(self, args, state, control, **kwargs) -> None:
        if self.leave:
            control.should_save = control.should_training_stop = True


def windows(file: str, length: int) -> list[dict[str, torch.Tensor]]:
    ids = torch.from_numpy(np.fromfile(file, np.uint8).astype(np.int64))
    return [{"input_ids": ids, "labels": ids} for ids in ids.split(length)[:-1]]


def main() -> None:
    model, args = hf.HfArgumentParser((Model, hf.TrainingArguments)).parse_args_into_dataclasses()
    signal.signal(signal.SIGTERM, lambda *_: setattr(Tell, "leave", True))
    torch.manual_seed(args.seed)
    shape = {"hidden_size": model.width, "intermediate_size": 2 * model.width}
    shape |= {"num_hidden_layers": model.depth, "num_attention_heads": 2, "vocab_size": 256}
    llama = hf.LlamaForCausalLM(hf.LlamaConfig(**shape, max_position_embeddings=model.context))
    print(json.dumps({"params": llama.num_parameters()}), flush=True)
    train, held = (windows(file, model.context) for file in (model.train, model.validation))
    trainer = hf.Trainer(llama, args, None, train, held[:512], callbacks=[Tell()])
    trainer.train(resume_from_checkpoint=args.resume_from_checkpoint)
    if Tell.leave:
        raise SystemExit("asked to leave; the state is saved")
    trainer.evaluate()


if __name__ == "__main__":
    main()
