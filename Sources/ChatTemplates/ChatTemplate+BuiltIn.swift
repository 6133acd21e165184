extension ChatTemplate {
    /// Templates by name, for models that come without one.
    static let builtIn = [
        "chatml": """
        {% for message in messages %}{{ '<|im_start|>' + message['role'] + '\\n' + message['content'] + '<|im_end|>\\n' }}\
        {% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}
        """,
        "llama3": """
        {{ bos_token }}{% for message in messages %}\
        {{ '<|start_header_id|>' + message['role'] + '<|end_header_id|>\\n\\n' + message['content'] | trim + '<|eot_id|>' }}\
        {% endfor %}{% if add_generation_prompt %}{{ '<|start_header_id|>assistant<|end_header_id|>\\n\\n' }}{% endif %}
        """,
        "zephyr": """
        {% for message in messages %}{{ '<|' + message['role'] + '|>\\n' + message['content'] + eos_token + '\\n' }}\
        {% endfor %}{% if add_generation_prompt %}{{ '<|assistant|>\\n' }}{% endif %}
        """,
    ]
}
