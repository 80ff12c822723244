"""Chat templates as they lie in checkpoints: Jinja texts by name, with the content that a user's message has for them: a list of
parts, or one text in which a mark stands for an image."""

VICUNA = (
    "A chat between a curious user and an artificial intelligence assistant. "
    "The assistant gives helpful, detailed, and polite answers to the user\\'s questions."
)
NOT_ALTERNATING = (
    "{% if (message['role'] == 'user') != (loop.index0 % 2 == 0) %}"
    "{{ raise_exception('Conversation roles must alternate user/assistant/user/assistant/...') }}{% endif %}"
)
ALL_IMAGES = "{% for content in message['content'] | selectattr('type', 'equalto', 'image') %}{{ '<image>\\n' }}{% endfor %}"
ALL_TEXT = "{% for content in message['content'] | selectattr('type', 'equalto', 'text') %}{{ content['text'] }}{% endfor %}"

# What LLaMA-Factory writes from its own forms: since 2024-10, before, and for those that put the system text into the first turn.
FACTORY = (
    "@PREFIX@{% if messages[0]['role'] == 'system' %}{% set loop_messages = messages[1:] %}"
    "{% set system_message = messages[0]['content'] %}{% else %}{% set loop_messages = messages %}{% endif %}"
    "{% if system_message is defined %}{{ @SYSTEM@ }}{% endif %}{% for message in loop_messages %}"
    "{% set content = message['content'] %}{% if message['role'] == 'user' %}{{ @USER@ }}"
    "{% elif message['role'] == 'assistant' %}{{ @ASSISTANT@ }}{% endif %}{% endfor %}"
)
FACTORY_BEFORE = (
    "@PREFIX@{% if messages[0]['role'] == 'system' %}{% set system_message = messages[0]['content'] %}{% endif %}"
    "{% if system_message is defined %}{{ @SYSTEM@ }}{% endif %}{% for message in messages %}"
    "{% set content = message['content'] %}{% if message['role'] == 'user' %}{{ @USER@ }}"
    "{% elif message['role'] == 'assistant' %}{{ @ASSISTANT@ }}{% endif %}{% endfor %}"
)
FACTORY_FIRST_TURN = (
    "@PREFIX@{% if messages[0]['role'] == 'system' %}{% set loop_messages = messages[1:] %}"
    "{% set system_message = messages[0]['content'] %}{% else %}{% set loop_messages = messages %}{% endif %}"
    "{% for message in loop_messages %}{% if loop.index0 == 0 and system_message is defined %}"
    "{% set content = @SYSTEM@ + message['content'] %}{% else %}{% set content = message['content'] %}{% endif %}"
    "{% if message['role'] == 'user' %}{{ @USER@ }}{% elif message['role'] == 'assistant' %}{{ @ASSISTANT@ }}{% endif %}{% endfor %}"
)


def factory(skeleton, user, assistant, system="system_message", prefix="", default=""):
    before = ("{{ " + prefix + " }}" if prefix else "") + ("{% set system_message = '" + default + "' %}" if default else "")
    for name, value in {"PREFIX": before, "SYSTEM": system, "USER": user, "ASSISTANT": assistant}.items():
        skeleton = skeleton.replace(f"@{name}@", value)
    return skeleton.replace("\\n", "\n")  # it writes line ends as they are


CHATML_USER = r"'<|im_start|>user\n' + content + '<|im_end|>\n<|im_start|>assistant\n'"
CHATML_SYSTEM = r"'<|im_start|>system\n' + system_message + '<|im_end|>\n'"

# A message is a list of parts.
PARTS = {
    "llava-1.5": "{% for message in messages %}{% if message['role'] != 'system' %}{{ message['role'].upper() + ': '}}{% endif %}"
    "{# Render all images first #}" + ALL_IMAGES + "{# Render all text next #}{% if message['role'] != 'assistant' %}"
    "{% for content in message['content'] | selectattr('type', 'equalto', 'text') %}{{ content['text'] + ' '}}{% endfor %}"
    "{% else %}{% for content in message['content'] | selectattr('type', 'equalto', 'text') %}"
    "{% generation %}{{ content['text'] + ' '}}{% endgeneration %}{% endfor %}{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}{{ 'ASSISTANT:' }}{% endif %}",
    "llava-next-mistral": "{% for message in messages %}{% if message['role'] == 'system' %}"
    "{{ '<<SYS>>\\n' + message['content'][0]['text'] + '\\n<</SYS>>\\n\\n' }}{% elif message['role'] == 'user' %}{{ '[INST] ' }}"
    "{# Render all images first #}" + ALL_IMAGES + "{# Render all text next #}" + ALL_TEXT + "{{' [/INST]' }}"
    "{% elif message['role'] == 'assistant' %}{{ ' ' + message['content'][0]['text'] + '<\\s> '}}"
    "{% else %}{{ raise_exception('Only user and assistant roles are supported!') }}{% endif %}{% endfor %}",
    "llava-next-llama-3": "{% for message in messages %}{{ '<|start_header_id|>' + message['role'] + '<|end_header_id|>\\n\\n'}}"
    "{# Render all images first #}{% for content in message['content'] | selectattr('type', 'equalto', 'image') %}"
    "{{ '<image>' }}{% endfor %}{# Render all text next #}"
    "{% for content in message['content'] | selectattr('type', 'equalto', 'text') %}"
    "{{ '\\n' + content['text'] + '<|eot_id|>' }}{% endfor %}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|start_header_id|>assistant<|end_header_id|>\\n\\n' }}{% endif %}",
    "chatml-parts": "{% if not add_generation_prompt is defined %}{% set add_generation_prompt = false %}{% endif %}"
    "{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\\n' }}{% if message['content'] is string %}"
    "{{ message['content'] }}{% else %}" + ALL_IMAGES + ALL_TEXT + "{% endif %}{{ '<|im_end|>' + '\\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}",
    "digitgrid": "{% for message in messages %}\n  {%- if message.role == 'user' %}USER: {% else -%} ASSISTANT: {% endif %}\n"
    "    {#- images -#}\n{% for content in message.content if content.type == 'image' %}<image>\n\n{%- endfor %}\n"
    "{{- message.content | selectattr('type', '==', 'text') | map(attribute='text') | join('') if false else "
    "(message['content'] | last)['text'] }} {%+ endfor %}\n{{- 'ASSISTANT:' if add_generation_prompt else '' -}}\n",
}

# A message is one text.
TEXT = {
    "vicuna": "{% if messages[0]['role'] == 'system' %}{% set loop_messages = messages[1:] %}"
    "{% set system_message = messages[0]['content'] %}{% else %}{% set loop_messages = messages %}"
    "{% set system_message = '" + VICUNA + "' %}{% endif %}{% for message in loop_messages %}" + NOT_ALTERNATING +
    "{% if loop.index0 == 0 %}{{ system_message }}{% endif %}{% if message['role'] == 'user' %}"
    "{{ ' USER: ' + message['content'].strip() }}{% elif message['role'] == 'assistant' %}"
    "{{ ' ASSISTANT: ' + message['content'].strip() + eos_token }}{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}{{ ' ASSISTANT:' }}{% endif %}",
    "vicuna-lines": "{% if messages[0]['role'] == 'system' %}\n    {% set system_message = messages[0]['content'] | trim + '\\n\\n' %}\n"
    "    {% set messages = messages[1:] %}\n{% else %}\n    {% set system_message = '' %}\n{% endif %}\n\n"
    "{{ bos_token + system_message }}\n{% for message in messages %}\n    " + NOT_ALTERNATING + "\n\n"
    "    {% if message['role'] == 'user' %}\n        {{ 'USER: ' + message['content'] | trim + '\\n' }}\n"
    "    {% elif message['role'] == 'assistant' %}\n        {{ 'ASSISTANT: ' + message['content'] | trim + eos_token + '\\n' }}\n"
    "    {% endif %}\n{% endfor %}\n\n{% if add_generation_prompt %}\n    {{ 'ASSISTANT:' }}\n{% endif %}\n",
    "llama-2": "{% if messages[0]['role'] == 'system' %}{% set loop_messages = messages[1:] %}"
    "{% set system_message = messages[0]['content'] %}{% else %}{% set loop_messages = messages %}"
    "{% set system_message = false %}{% endif %}{% for message in loop_messages %}" + NOT_ALTERNATING +
    "{% if loop.index0 == 0 and system_message != false %}"
    "{% set content = '<<SYS>>\\n' + system_message + '\\n<</SYS>>\\n\\n' + message['content'] %}"
    "{% else %}{% set content = message['content'] %}{% endif %}{% if message['role'] == 'user' %}"
    "{{ bos_token + '[INST] ' + content.strip() + ' [/INST]' }}{% elif message['role'] == 'assistant' %}"
    "{{ ' '  + content.strip() + ' ' + eos_token }}{% endif %}{% endfor %}",
    "mistral": "{{ bos_token }}{% for message in messages %}" + NOT_ALTERNATING +
    "{% if message['role'] == 'user' %}{{ '[INST] ' + message['content'] + ' [/INST]' }}"
    "{% elif message['role'] == 'assistant' %}{{ message['content'] + eos_token}}"
    "{% else %}{{ raise_exception('Only user and assistant roles are supported!') }}{% endif %}{% endfor %}",
    "chatml": "{% for message in messages %}"
    "{{'<|im_start|>' + message['role'] + '\\n' + message['content'] + '<|im_end|>' + '\\n'}}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}",
    "qwen": "{% for message in messages %}{% if loop.first and messages[0]['role'] != 'system' %}"
    "{{ '<|im_start|>system\\nYou are a helpful assistant.<|im_end|>\\n' }}{% endif %}"
    "{{'<|im_start|>' + message['role'] + '\\n' + message['content'] + '<|im_end|>' + '\\n'}}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}",
    "phi-3": "{{ bos_token }}{% for message in messages %}{% if (message['role'] == 'system') %}"
    "{{'<|system|>' + '\\n' + message['content'] + '<|end|>' + '\\n'}}{% elif (message['role'] == 'user') %}"
    "{{'<|user|>' + '\\n' + message['content'] + '<|end|>' + '\\n' + '<|assistant|>' + '\\n'}}"
    "{% elif message['role'] == 'assistant' %}{{message['content'] + '<|end|>' + '\\n'}}{% endif %}{% endfor %}",
    "phi-3-later": "{% for message in messages %}{% if message['role'] == 'system' %}"
    "{{'<|system|>\\n' + message['content'] + '<|end|>\\n'}}{% elif message['role'] == 'user' %}"
    "{{'<|user|>\\n' + message['content'] + '<|end|>\\n'}}{% elif message['role'] == 'assistant' %}"
    "{{'<|assistant|>\\n' + message['content'] + '<|end|>\\n'}}{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|assistant|>\\n' }}{% else %}{{ eos_token }}{% endif %}",
    "llama-3": "{% set loop_messages = messages %}{% for message in loop_messages %}"
    "{% set content = '<|start_header_id|>' + message['role'] + '<|end_header_id|>\\n\\n'+ message['content'] | trim + '<|eot_id|>' %}"
    "{% if loop.index0 == 0 %}{% set content = bos_token + content %}{% endif %}{{ content }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|start_header_id|>assistant<|end_header_id|>\\n\\n' }}{% endif %}",
    "factory-vicuna": factory(FACTORY, "'USER: ' + content + ' ASSISTANT:'", "content + '</s>'", default=VICUNA),
    "factory-vicuna-before": factory(FACTORY_BEFORE, "'USER: ' + content + ' ASSISTANT:'", "content + '</s>'", default=VICUNA),
    "factory-llama-2": factory(FACTORY_FIRST_TURN, "'<s>' + '[INST] ' + content + ' [/INST]'", "content + '</s>'",
                               r"'<<SYS>>\n' + system_message + '\n<</SYS>>\n\n'"),
    "factory-mistral": factory(FACTORY_FIRST_TURN, "'[INST] ' + content + '[/INST]'", "' ' + content + '</s>'",
                               r"system_message + '\n\n'", "'<s>'"),
    "factory-chatml": factory(FACTORY, CHATML_USER, r"content + '<|im_end|>\n'", CHATML_SYSTEM),
    "factory-qwen": factory(FACTORY, CHATML_USER, r"content + '<|im_end|>\n'", CHATML_SYSTEM, default="You are a helpful assistant."),
    "factory-phi": factory(FACTORY, r"'<|user|>\n' + content + '<|end|>\n<|assistant|>\n'", r"content + '<|end|>\n'",
                           r"'<|system|>\n' + system_message + '<|end|>\n'"),
    "factory-llama-3": factory(
        FACTORY,
        r"'<|start_header_id|>user<|end_header_id|>\n\n' + content + '<|eot_id|><|start_header_id|>assistant<|end_header_id|>\n\n'",
        "content + '<|eot_id|>'", r"'<|start_header_id|>system<|end_header_id|>\n\n' + system_message + '<|eot_id|>'", "'<s>'"),
}
