//! What `playbook create` writes: a playbook that can be read, and is red until somebody fills it in.

use super::Category;

/// The text of a new playbook `stem` in `category`.
pub fn template(category: Category, stem: &str) -> String {
    let title = stem.replace('-', " ");
    format!(
        "\
# yaml-language-server: $schema=../schema.json
name: \"{title}\"
description: \"Say in a sentence what this shows that no other playbook does.\"
timeout: 60s
runner: cli
tags: [{category}]

# Planted faults that must turn it red, with words of the failure. `cargo probador prove {category}/{stem}` tries them;
# their names are in checklist/faults.yaml.
faults:
  - name: apr-reply-canned
    says: does not contain

steps:
  - name: \"the first step\"
    action: run
    # Split into words without a shell. {{model}} is the model under test.
    command: \"apr chat {{model}} --temperature 0 --seed 1 --max-tokens 8\"
    stdin: \"What is 2+2?\"
    timeout: 30s
    expect_exit: 0
    # Red until this says what the command must print.
    expect_output: \"TODO: what the command must print\"
"
    )
}
