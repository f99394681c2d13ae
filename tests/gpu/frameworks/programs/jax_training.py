"""JAX trains; its allocator takes three quarters of the card when it starts, as it does by default."""
import functools

import outcome

chosen = outcome.options()
try:
    import jax
    import jax.numpy as jnp
    import numpy
except ImportError as error:
    outcome.missing(str(error))
if jax.default_backend() != "gpu":
    outcome.missing("jax sees no card")

WIDTH, BATCH = 4096, 256
layers = max(2, chosen.bytes // (4 * 4 * WIDTH * WIDTH))
keys = jax.random.split(jax.random.PRNGKey(17), layers)
weights = [jax.random.normal(key, (WIDTH, WIDTH)) / 64 for key in keys]
momentum = [jnp.zeros_like(weight) for weight in weights]


def loss(weights, batch):
    x = batch
    for weight in weights:
        x = jnp.tanh(x @ weight)
    return jnp.mean((x - batch) ** 2)


@functools.partial(jax.jit, donate_argnums=(0, 1))
def train(weights, momentum, batch):
    gradients = jax.grad(loss)(weights, batch)
    momentum = [0.9 * m + g for m, g in zip(momentum, gradients)]
    return [w - 1e-3 * m for w, m in zip(weights, momentum)], momentum


def batch_of(number):
    return numpy.random.default_rng(number).standard_normal((BATCH, WIDTH), dtype=numpy.float32)


weights, momentum = train(weights, momentum, batch_of(0))
jax.block_until_ready(weights)
for number in outcome.steps(chosen):
    weights, momentum = train(weights, momentum, batch_of(number))
    jax.block_until_ready(weights)
outcome.save(chosen, {f"weight{i}": numpy.asarray(weights[i]) for i in range(min(layers, 8))})
