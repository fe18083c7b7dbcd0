"""What the evaluation asks: prompts that name a person, and the answers that show what a model knows of the person.

A prompt is a beginning of a biography, as the stream has it:

    <eos> First Middle Last + before          -> the value          (birth date, birth city, university, major, employer)
    <eos> First Middle Last + sentence        -> the pronoun        (that opens the second sentence)

`before` is what the attribute's template has in front of the value; nothing else of the biography is given, as it might
tell (the employer's city tells the employer). The pronoun's prompt cannot do without a sentence: it has its true value,
which tells nothing that the name doesn't, since pronouns are drawn independently of everything else.

In bioS the templates are drawn for every (person, attribute, draw), and so is the attribute of the pronoun's sentence,
out of all six. In bioS-simple they are the person's own, and the sentence is the person's own first one.
"""

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from canonlab.data.jit import kernel
from canonlab.data.random import Int, below, stream
from canonlab.tasks.capo.permutation import permuted, round_keys
from canonlab.tasks.capo.pieces import AFTER, BEFORE, EOS, Kind, Pieces
from canonlab.tasks.capo.words import ATTRIBUTES
