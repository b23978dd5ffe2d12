"""Two tasks in the plane, on the surfaces that the papers draw.

`surface` is the mathematics, `landscape` the numbers behind the pictures, `dynamics` and `plots` the
pictures, `descent` the steps, `toy_problem` the problem, `toy_training` a run, `toy_page` the
results page. Each imports only what stands before it.

Methods that read task gradients may have their directions bounded (`balancing.max_grad_norm`).
Loss weightings are never bounded: see :class:`mtrl.supervised.problems.toy.toy_problem.Toy`.
"""
