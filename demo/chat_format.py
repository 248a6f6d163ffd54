"""The prompt text that the skills are trained on and measured with."""

# The default of SmolLM2's own chat template, word for word.
SYSTEM_MESSAGE = ("You are a helpful AI assistant named SmolLM, trained by "
                  "Hugging Face")


def prompt_text(question, with_system=False):
    """One user turn in ChatML, ready for the assistant's answer.

    `with_system` puts SmolLM2's default system message first, as its chat
    template does. The skills are trained half with it and half without.
    """
    system = (f"<|im_start|>system\n{SYSTEM_MESSAGE}<|im_end|>\n"
              if with_system else "")
    return (f"{system}<|im_start|>user\n{question}<|im_end|>\n"
            "<|im_start|>assistant\n")
