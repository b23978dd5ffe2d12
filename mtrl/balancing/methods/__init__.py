"""One balancing method per file; `mtrl.balancing.METHODS` lists them.

Letters in the docstrings: m tasks; n shared parameters; g_i the gradient of task i; J the matrix
`[m, n]` of these gradients; M = J J' the Gramian `[m, m]`; a or w the task weights `[m]`; d the
direction `[n]`; omega the performance weights `[m]`. `Scale: J -> s J gives d -> s d` means: if all
gradients are multiplied by s, so is the direction.
"""
