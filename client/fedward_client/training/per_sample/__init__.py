"""Each patient's gradient, clipped, in one backward pass.

Autograd computes the gradients of layer inputs as ever. Instead of the batch's weight gradient,
each layer's rule gives a `Contribution`: the patients' squared norms first, and, once all layers'
norms are added and the clip factors known, the weighted sum. That needs no second pass ("book
keeping", Bu et al. 2022, arXiv:2210.00038).

Layout of a batch: view-major. With P patients and V views of each, example v * P + p is view v of
patient p. Then (V * P, C, ...) seen as (V, P * C, ...) makes each patient a group of channels, and
the library's own grouped weight gradient gives per-patient gradients, summed over views.
"""
