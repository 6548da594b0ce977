"""The other encoders against the golden vectors: outputs, losses and gradients of the reference programs."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from tests.golden_vectors import PRECISIONS, golden
from tf_fenrec.encoders import (
    BERT4RecEncoder,
    BSARecEncoder,
    CaserEncoder,
    CBiTEncoder,
    GRU4RecEncoder,
    LRURecEncoder,
    MAERecEncoder,
    SASRecEncoder,
    padded_batch,
)
from tf_fenrec.layers.frequency import FrequencyLayer, low_pass_matrix
from tf_fenrec.layers.lru import linear_recurrence, ring
from tf_fenrec.losses import (
    bayesian_personalised_ranking,
    binary_cross_entropy,
    soft_label_cross_entropy,
    symmetric_divergence,
)
from tf_fenrec.losses.edges import edge_reconstruction
from tf_fenrec.systems.maerec import MAERec, MAERecConfig

both_precisions = pytest.mark.parametrize(("dtype", "tolerance"), PRECISIONS)
Weights = dict[str, Any]


def arrays(weights: dict[str, Any]) -> Weights:
    """Complex ones stay {"re", "im"}."""
    return {name: value if isinstance(value, dict) else np.array(value) for name, value in weights.items()}


def set_dense(layer: Any, weights: Weights, name: str) -> None:
    layer.kernel.assign(weights.pop(f"{name}.weight").T)
    layer.bias.assign(weights.pop(f"{name}.bias"))


def set_norm(layer: Any, weights: Weights, name: str, names: tuple[str, str] = ("weight", "bias")) -> None:
    layer.gamma.assign(weights.pop(f"{name}.{names[0]}"))
    layer.beta.assign(weights.pop(f"{name}.{names[1]}"))


def set_transformer(encoder: Any, weights: Weights, block: str, attention: str, feedforward: str) -> None:
    """The T-body's weights by the names of a reference program; `block` has a place for the number."""
    item = next(name for name in weights if name.startswith("item_embedding"))
    position = next(name for name in weights if name.startswith("position_embedding"))
    encoder.embedding.item_table.assign(weights.pop(item))
    encoder.embedding.position_table.assign(weights.pop(position))
    set_norm(encoder.embedding.norm, weights, "LayerNorm")
    for number, layer in enumerate(encoder.blocks):
        name = block.format(number)
        for ours, theirs in (("query", "query"), ("key", "key"), ("value", "value"), ("output_projection", "dense")):
            set_dense(getattr(layer, ours), weights, f"{name}.{attention}.{theirs}")
        set_norm(layer.attention_norm, weights, f"{name}.{attention}.LayerNorm")
        set_dense(layer.expand, weights, f"{name}.{feedforward}.dense_1")
        set_dense(layer.contract, weights, f"{name}.{feedforward}.dense_2")
        set_norm(layer.feedforward_norm, weights, f"{name}.{feedforward}.LayerNorm")


def close(found: Any, expected: Any, tolerance: float, name: str = "") -> None:
    found = tf.convert_to_tensor(found).numpy()  # gradients of tables are slices
    np.testing.assert_allclose(found, np.array(expected), rtol=tolerance, atol=tolerance, err_msg=name)


def last_cross_entropy(encoder: Any, items: np.ndarray, targets: Any) -> tf.Tensor:
    """Full softmax at the last position, over all rows of the table."""
    users, table = encoder.user_vectors(encoder(items)), encoder.item_vectors()
    return soft_label_cross_entropy(users, table, np.array(targets)[:, None], np.ones((len(items), 1)))


def check_gradients(
    loss: Callable[[], tf.Tensor], expected: float, gradients: dict[str, Any], of: dict[str, Any], tolerance: float
) -> None:
    """`of`: the variable of each name, and how ours becomes theirs."""
    assert set(of) == set(gradients)
    with tf.GradientTape() as tape:
        value = loss()
    close(value, expected, tolerance)
    found = tape.gradient(value, [variable for variable, _ in of.values()])
    for (name, (_, convert)), gradient in zip(of.items(), found, strict=True):
        close(convert(tf.convert_to_tensor(gradient).numpy()), gradients[name], tolerance, name)


def same(array: np.ndarray) -> np.ndarray:
    return array


def transposed(array: np.ndarray) -> np.ndarray:
    return array.T


# ---- GRU4Rec


def gates(array: np.ndarray) -> np.ndarray:
    """PyTorch's gates r, z, n in Keras' order z, r, h; it is its own inverse."""
    r, z, n = np.split(array, 3, axis=-1)
    return np.concatenate([z, r, n], axis=-1)


@both_precisions
@pytest.mark.parametrize("number", [0, 1])
def test_gru4rec(number: int, dtype: str, tolerance: float) -> None:
    case = golden("baselines/gru4rec_forward")["cases"][number]
    weights = arrays(case["weights"])
    encoder = GRU4RecEncoder(14, 8, 10, 12, case["num_layers"], through_padding=True, dtype=dtype)
    encoder.item_table.assign(weights["item_embeddings.weight"])
    set_dense(encoder.dense, weights, "dense")
    for layer, gru in enumerate(encoder.layers):
        gru.cell.kernel.assign(gates(weights[f"gru_layers.weight_ih_l{layer}"].T))
        gru.cell.recurrent_kernel.assign(gates(weights[f"gru_layers.weight_hh_l{layer}"].T))
    items = np.array(case["inputs"])
    close(encoder(items, everywhere=True), case["outputs"], tolerance)
    close(encoder(items), np.array(case["outputs"])[:, -1], tolerance)
    cell = encoder.layers[0].cell
    of = {
        "gru_layers.weight_ih_l0": (cell.kernel, lambda g: gates(g).T),
        "gru_layers.weight_hh_l0": (cell.recurrent_kernel, lambda g: gates(g).T),
        "dense.weight": (encoder.dense.kernel, transposed),
        "dense.bias": (encoder.dense.bias, same),
    }
    of = {name: of[name] for name in case["ce_grads"]}
    check_gradients(
        lambda: last_cross_entropy(encoder, items, case["targets"]), case["ce_loss"], case["ce_grads"], of, tolerance
    )
    vectors = encoder(items)
    table = encoder.item_vectors()
    positive = tf.reduce_sum(vectors * tf.gather(table, case["targets"]), axis=1)
    negative = tf.reduce_sum(vectors * tf.gather(table, case["negatives"]), axis=1)
    close(bayesian_personalised_ranking(positive, negative[:, None]), case["bpr_loss"], tolerance)


def test_a_gru_that_starts_at_the_first_item_does_not_know_the_padding() -> None:
    encoder = GRU4RecEncoder(9, 4, 6, 5, dtype="float64")
    alone = encoder(np.array([[3, 7]]))
    encoder.item_table.assign(np.where(np.arange(11)[:, None] == 0, 9.0, np.asarray(encoder.item_table)))
    np.testing.assert_allclose(encoder(np.array([[0, 0, 0, 3, 7]])), alone, rtol=1e-12)


# ---- Caser


@both_precisions
def test_caser(dtype: str, tolerance: float) -> None:
    case = golden("baselines/caser_forward")
    config, weights = case["config"], arrays(case["weights"])
    encoder = CaserEncoder(
        config["item_rows"] - 2, config["num_users"], config["d"], config["L"], config["nh"], config["nv"],
        regularizer_weight=config["reg_weight"], dropout=0.0, dtype=dtype,
    )  # fmt: skip
    encoder.item_table.assign(weights["item_embeddings.weight"])
    # The reference's user 0 is a user, with a frozen vector; ours start at 1, and 0 is nobody.
    users = weights["user_embeddings.weight"]
    encoder.user_table.assign(np.concatenate([np.full_like(users[:1], 9.0), users]))
    encoder.vertical.assign(weights["conv_v.weight"][:, 0, :, 0].T)
    encoder.vertical_bias.assign(weights["conv_v.bias"])
    for height, (kernel, bias) in enumerate(zip(encoder.horizontal, encoder.horizontal_bias, strict=True)):
        kernel.assign(weights[f"conv_h.{height}.weight"][:, 0].transpose(1, 2, 0))
        bias.assign(weights[f"conv_h.{height}.bias"])
    # The reference flattens filter by filter too, so fc1 needs only the heights' order.
    set_dense(encoder.sequence_dense, weights, "fc1")
    set_dense(encoder.output_dense, weights, "fc2")
    items = np.array(case["inputs"], np.int32)
    batch = padded_batch(tf.constant(items)) | {"users": tf.constant(case["users"]) + 1}
    vertical, horizontal = encoder.features(tf.constant(items))
    close(vertical, case["vertical"], tolerance)
    close(horizontal, case["horizontal"], tolerance)
    close(encoder(batch), case["outputs"], tolerance)
    of = {
        "conv_v.weight": (encoder.vertical, lambda g: g.T[:, None, :, None]),
        "conv_h.2.weight": (encoder.horizontal[2], lambda g: g.transpose(2, 0, 1)[:, None]),
        "fc1.weight": (encoder.sequence_dense.kernel, transposed),
        "user_embeddings.weight": (encoder.user_table, lambda g: np.concatenate([0 * g[:1], g[2:]])),
    }
    targets = np.array(case["targets"])[:, None]

    def loss() -> tf.Tensor:
        return soft_label_cross_entropy(encoder(batch), encoder.item_vectors(), targets, np.ones_like(targets, float))

    check_gradients(loss, case["ce_loss"], case["ce_grads"], of, tolerance)
    encoder.user_table.assign(np.concatenate([np.zeros_like(users[:1]), users]))  # no part of the norm
    vectors = encoder(batch, training=True)
    table = encoder.item_vectors()
    scores = [tf.reduce_sum(vectors * tf.gather(table, case[ids]), axis=1) for ids in ("targets", "negatives")]
    total = binary_cross_entropy(scores[0], scores[1][:, None]) + sum(encoder.losses)
    close(total, case["bce_plus_reg_loss"], tolerance)


# ---- LRURec


def complex_of(value: dict[str, Any]) -> np.ndarray:
    return np.array(value["re"]) + 1j * np.array(value["im"])


def test_the_ring() -> None:
    expected = golden("baselines/lru_scan")["init"]
    found = ring(np.array(expected["u1"]), np.array(expected["u2"]))
    for ours, name in zip(found, ("nu_log", "theta_log", "gamma_log"), strict=True):
        np.testing.assert_allclose(ours, expected[name], rtol=1e-9)


@both_precisions
@pytest.mark.parametrize("number", range(4))
def test_linear_recurrence(number: int, dtype: str, tolerance: float) -> None:
    """Of the loop: also with zeros between items, where the released scan differs from it."""
    case = golden("baselines/lru_scan")["cases"][number]
    nu, theta, _ = np.exp(np.array(case["params_log"]))
    u, items = complex_of(case["u"]), np.array(case["mask"]) != 0
    begins = np.pad(~items[:, :-1], [(0, 0), (1, 0)])
    runs = tf.constant(np.cumsum(begins, axis=1), tf.int32)
    tensors = (tf.constant(x, dtype) for x in (u.real, u.imag, nu, theta))
    real, imaginary = linear_recurrence(*tensors, runs, items.shape[1])
    expected = complex_of(case["naive_out"])
    close(real, expected.real, tolerance)
    close(imaginary, expected.imag, tolerance)


@both_precisions
@pytest.mark.parametrize("number", [0, 1])
def test_lrurec(number: int, dtype: str, tolerance: float) -> None:
    case = golden("baselines/lrurec_forward")["cases"][number]
    config, weights = case["config"], arrays(case["weights"])
    encoder = LRURecEncoder(config["num_items"], config["d"], config["L"], config["blocks"], dropout=0.0, dtype=dtype)

    def with_mask(array: np.ndarray) -> np.ndarray:
        return np.concatenate([array, np.full_like(array[:1], -50.0)])

    table = weights["embedding.token.weight"]
    encoder.item_table.assign(np.concatenate([table, np.zeros_like(table[:1])]))
    encoder.item_bias.assign(np.append(weights["model.bias"], -1e3))  # the reference has no mask row
    set_norm(encoder.norm, weights, "embedding.layer_norm")
    for block, unit in enumerate(encoder.units):
        name = f"model.lru_blocks.{block}"
        nu, theta, gamma = weights[f"{name}.lru_layer.params_log"]
        unit.nu_log.assign(nu)
        unit.theta_log.assign(theta)
        unit.gamma_log.assign(gamma)
        proj = {side: weights[f"{name}.lru_layer.{side}_proj.weight"] for side in ("in", "out")}
        unit.in_real.assign(np.array(proj["in"]["re"]).T)
        unit.in_imaginary.assign(np.array(proj["in"]["im"]).T)
        unit.out_real.assign(np.array(proj["out"]["re"]).T)
        unit.out_imaginary.assign(np.array(proj["out"]["im"]).T)
        unit.in_bias_real.assign(weights[f"{name}.lru_layer.in_proj.bias"]["re"])
        unit.in_bias_imaginary.assign(weights[f"{name}.lru_layer.in_proj.bias"]["im"])
        unit.out_bias.assign(weights[f"{name}.lru_layer.out_proj.bias"]["re"])
        set_norm(unit.norm, weights, f"{name}.lru_layer.layer_norm")
        set_dense(encoder.expand[block], weights, f"{name}.feed_forward.w_1")
        set_dense(encoder.contract[block], weights, f"{name}.feed_forward.w_2")
        set_norm(encoder.norms[block], weights, f"{name}.feed_forward.layer_norm")
    items, labels = np.array(case["inputs"], np.int32), np.array(case["labels"])

    def scores() -> tf.Tensor:
        users = encoder.user_vectors(encoder(items, everywhere=True))
        return tf.matmul(users, encoder.item_vectors()[None], transpose_b=True)

    close(scores()[:, :, :-1], case["scores"], tolerance)
    close(encoder(items), encoder(items, everywhere=True)[:, -1], tolerance)

    def loss() -> tf.Tensor:
        users = tf.reshape(encoder.user_vectors(encoder(items, everywhere=True)), [-1, config["d"] + 1])
        ids = labels.reshape(-1, 1)
        return soft_label_cross_entropy(
            users, encoder.item_vectors(), ids, np.ones_like(ids, float), (ids[:, 0] > 0).astype(float)
        )

    unit = encoder.units[0]
    with tf.GradientTape() as tape:
        value = loss()
    close(value, case["ce_loss"], tolerance)
    variables = [unit.nu_log, unit.theta_log, unit.gamma_log, encoder.item_bias, encoder.norm.gamma]
    variables += [unit.out_real, unit.out_imaginary]
    found = [tf.convert_to_tensor(g).numpy() for g in tape.gradient(value, variables)]
    expected = case["ce_grads"]
    close(np.stack(found[:3]), expected["model.lru_blocks.0.lru_layer.params_log"], tolerance)
    close(found[3][:-1], expected["model.bias"], tolerance)
    close(found[4], expected["embedding.layer_norm.weight"], tolerance)
    out = expected["model.lru_blocks.0.lru_layer.out_proj.weight"]
    close(found[5].T, out["re"], tolerance)
    close(found[6].T, out["im"], tolerance)


# ---- BSARec


@both_precisions
@pytest.mark.parametrize("number", range(8))
def test_frequency_layer(number: int, dtype: str, tolerance: float) -> None:
    case = golden("baselines/bsarec_frequency_layer")["cases"][number]
    x = tf.constant(case["x"], dtype)
    layer = FrequencyLayer(case["L"], case["c"], dropout=0.0, dtype=dtype)
    layer.build(x.shape)
    weights = arrays(case["weights"])
    layer.root_beta.assign(weights["sqrt_beta"].reshape(-1))
    set_norm(layer.norm, weights, "LayerNorm")
    low = np.einsum("ts,rsd->rtd", low_pass_matrix(case["L"], case["c"]), np.array(case["x"]))
    close(low, case["low_pass"], 1e-9)
    with tf.GradientTape() as tape:
        tape.watch(x)
        output = layer(x)
        count = np.arange(np.prod(output.shape)).reshape(output.shape)
        total = tf.reduce_sum(output * tf.constant(count % 7 - 3, dtype))
    close(output, case["output"], tolerance)
    grad_x, grad_root = tape.gradient(total, [x, layer.root_beta])
    if "grad_x" not in case:
        return
    close(grad_x, case["grad_x"], 10 * tolerance)
    close(grad_root, np.array(case["grad_sqrt_beta"]).reshape(-1), 10 * tolerance)


@both_precisions
@pytest.mark.parametrize("number", [0, 1])
def test_bsarec(number: int, dtype: str, tolerance: float) -> None:
    case = golden("baselines/bsarec_forward")["cases"][number]
    config, weights = case["config"], arrays(case["weights"])
    encoder = BSARecEncoder(
        14, config["d"], config["L"], config["layers"], config["heads"], config["alpha"], config["c"], dtype=dtype
    )
    for block, layer in enumerate(encoder.blocks):
        name = f"item_encoder.blocks.{block}.layer.filter_layer"
        layer.mixer.root_beta.assign(weights.pop(f"{name}.sqrt_beta").reshape(-1))
        set_norm(layer.mixer.norm, weights, f"{name}.LayerNorm")
    set_transformer(encoder, weights, "item_encoder.blocks.{}", "layer.attention_layer", "feed_forward")
    assert not weights
    items = np.array(case["inputs"])
    close(encoder(items, everywhere=True), case["outputs"], tolerance)
    scores = tf.matmul(encoder(items), encoder.item_vectors(), transpose_b=True)
    close(scores, case["scores_last"], tolerance)
    first, second = (block.mixer.root_beta for block in encoder.blocks)
    of = {
        "item_encoder.blocks.0.layer.filter_layer.sqrt_beta": (first, lambda g: g[None, None]),
        "item_encoder.blocks.1.layer.filter_layer.sqrt_beta": (second, lambda g: g[None, None]),
        "position_embeddings.weight": (encoder.embedding.position_table, same),
        "item_encoder.blocks.0.layer.attention_layer.query.weight": (encoder.blocks[0].query.kernel, transposed),
    }
    check_gradients(
        lambda: last_cross_entropy(encoder, items, case["targets"]), case["ce_loss"], case["ce_grads"], of, tolerance
    )


# ---- SASRec's two losses


@both_precisions
def test_sasrec_heads(dtype: str, tolerance: float) -> None:
    case = golden("baselines/sasrec_heads")
    config, weights = case["config"], arrays(case["weights"])
    encoder = SASRecEncoder(14, config["d"], config["L"], config["layers"], config["heads"], dtype=dtype)
    set_transformer(encoder, weights, "item_encoder.blocks.{}", "layer", "feed_forward")
    items = np.array(case["inputs"])
    close(last_cross_entropy(encoder, items, case["targets"]), case["last_ce_loss"], tolerance)

    def loss() -> tf.Tensor:
        vectors, table = encoder(items), encoder.item_vectors()
        scores = [tf.reduce_sum(vectors * tf.gather(table, case[ids]), axis=1) for ids in ("targets", "negatives")]
        return binary_cross_entropy(scores[0], scores[1][:, None])

    of = {"position_embeddings.weight": (encoder.embedding.position_table, same)}
    check_gradients(loss, case["last_bce_loss"], case["last_bce_grads"], of, tolerance)


# ---- BERT4Rec


@both_precisions
def test_bert4rec_with_its_head(dtype: str, tolerance: float) -> None:
    case = golden("baselines/bert4rec_recbole_forward")
    config, weights = case["config"], arrays(case["weights"])
    encoder = BERT4RecEncoder(
        config["rows"] - 2, config["d"], config["L"], config["layers"], config["heads"], config["inner"], dtype=dtype
    )
    set_transformer(encoder, weights, "trm_encoder.layer.{}", "multi_head_attention", "feed_forward")
    set_dense(encoder.transform, weights, "output_ffn")
    set_norm(encoder.output_norm, weights, "output_ln")
    encoder.item_bias.assign(np.append(weights.pop("output_bias"), -1e3))  # the reference does not score the mask
    assert not weights

    def right_padded(items: np.ndarray) -> dict[str, tf.Tensor]:
        """Positions count from the left there."""
        batch = padded_batch(tf.constant(items, tf.int32))
        lengths = (items > 0).sum(axis=1)
        return batch | {"last": tf.constant(np.arange(len(items)) * items.shape[1] + lengths - 1, tf.int32)}

    inputs = np.array(case["masked_inputs"])
    real = inputs > 0
    outputs = encoder.user_vectors(encoder(right_padded(inputs), everywhere=True)).numpy()[..., :-1]
    close(outputs[real], np.array(case["outputs"])[real], tolerance)
    test = np.array(case["test_inputs"])
    scores = tf.matmul(encoder.user_vectors(encoder(right_padded(test))), encoder.item_vectors(), transpose_b=True)
    close(scores[:, :-1], case["test_scores"], tolerance)

    def loss() -> tf.Tensor:
        hidden = encoder(right_padded(inputs), everywhere=True)
        places, ids = np.array(case["masked_index"]), np.array(case["pos_items"])
        users = encoder.user_vectors(tf.gather(hidden, places, batch_dims=1))
        counted = (places > 0).reshape(-1).astype(float)
        users = tf.reshape(users, [-1, config["d"] + 1])
        return soft_label_cross_entropy(
            users, encoder.item_vectors(), ids.reshape(-1, 1), np.ones([ids.size, 1]), counted
        )

    of = {
        "output_bias": (encoder.item_bias, lambda g: g[:-1]),
        "output_ffn.weight": (encoder.transform.kernel, transposed),
        "position_embedding.weight": (encoder.embedding.position_table, same),
    }
    check_gradients(loss, case["loss_excluding_position_0"], case["grads"], of, tolerance)


@both_precisions
def test_bert4rec_without_a_head(dtype: str, tolerance: float) -> None:
    case = golden("baselines/bert4rec_simple_forward")
    config, weights = case["config"], arrays(case["weights"])
    encoder = BERT4RecEncoder(
        14, config["d"], config["L"], config["layers"], config["heads"], output_head=False, dtype=dtype
    )
    set_transformer(encoder, weights, "item_encoder.blocks.{}", "layer", "feed_forward")
    sequences = np.array(case["sequences"])
    hidden = encoder(padded_batch(tf.constant(case["masked_inputs"], tf.int32)), everywhere=True)
    real = np.array(case["masked_inputs"]) > 0
    close(hidden.numpy()[real], np.array(case["outputs"])[real], tolerance)
    scores = tf.matmul(encoder(sequences), encoder.item_vectors(), transpose_b=True)  # it appends the mask itself
    close(scores[:, :-1], case["test_scores"], tolerance)


# ---- CBiT


@both_precisions
@pytest.mark.parametrize("number", [0, 1])
def test_cbit(number: int, dtype: str, tolerance: float) -> None:
    case = golden("baselines/cbit_forward")["cases"][number]
    config, weights = case["config"], arrays(case["weights"])
    encoder = CBiTEncoder(
        config["num_items"], config["d"], config["L"], config["blocks"], config["heads"], dropout=0.0, dtype=dtype
    )
    encoder.item_table.assign(weights.pop("bert.embedding.token.weight"))
    encoder.position_table.assign(weights.pop("bert.embedding.position.pe.weight"))
    out = weights.pop("out.weight")
    encoder.output_table.assign(np.concatenate([out, out[:1]]))
    encoder.output_bias.assign(np.append(weights.pop("out.bias"), 9.0))  # of the mask: without effect
    for block, layer in enumerate(encoder.blocks):
        name = f"bert.transformer_blocks.{block}"
        for place, dense in enumerate((layer.query, layer.key, layer.value)):
            set_dense(dense, weights, f"{name}.attention.linear_layers.{place}")
        set_dense(layer.output_projection, weights, f"{name}.attention.output_linear")
        set_dense(layer.expand, weights, f"{name}.feed_forward.w_1")
        set_dense(layer.contract, weights, f"{name}.feed_forward.w_2")
        set_norm(layer.attention_norm, weights, f"{name}.input_sublayer.norm", ("a_2", "b_2"))
        set_norm(layer.feedforward_norm, weights, f"{name}.output_sublayer.norm", ("a_2", "b_2"))
    assert not weights
    items, labels = np.array(case["inputs"], np.int32), np.array(case["labels"])
    batch = padded_batch(tf.constant(items))
    hidden = encoder(batch, everywhere=True)
    close(hidden.numpy()[items > 0], np.array(case["hidden"])[items > 0], tolerance)
    vectors = encoder.item_vectors()
    assert not np.asarray(vectors)[-1].any()
    scores = tf.matmul(encoder.user_vectors(hidden), vectors[None, :-1], transpose_b=True)
    close(scores.numpy()[items > 0], np.array(case["logits"])[items > 0], tolerance)

    def loss() -> tf.Tensor:
        users = tf.reshape(encoder.user_vectors(encoder(batch, everywhere=True)), [-1, config["d"] + 1])
        ids = labels.reshape(-1, 1)
        counted = (ids[:, 0] > 0).astype(float)
        return soft_label_cross_entropy(users, encoder.item_vectors()[:-1], ids, np.ones_like(ids, float), counted)

    names = {
        "bert.embedding.position.pe.weight": (encoder.position_table, same),
        "bert.transformer_blocks.0.input_sublayer.norm.a_2": (encoder.blocks[0].attention_norm.gamma, same),
        "bert.transformer_blocks.1.feed_forward.w_1.weight": (encoder.blocks[1].expand.kernel, transposed),
    }
    names = {name: names[name] for name in case.get("ce_grads", {})}
    check_gradients(loss, case["ce_loss"], case.get("ce_grads", {}), names, tolerance)


def test_divergence_is_half_the_sum_of_both() -> None:
    rng = np.random.default_rng(0)
    scores = rng.normal(size=(2, 4, 5))
    p, q = (np.exp(x) / np.exp(x).sum(axis=1, keepdims=True) for x in scores)
    each = 0.5 * ((p * np.log(p / q)).sum(axis=1) + (q * np.log(q / p)).sum(axis=1))
    weights = np.array([1.0, 0.0, 2.0, 1.0])
    np.testing.assert_allclose(symmetric_divergence(*scores), each.mean(), rtol=1e-9)
    np.testing.assert_allclose(
        symmetric_divergence(*scores, weights), (weights * each).sum() / weights.sum(), rtol=1e-9
    )


# ---- MAERec


def maerec(dtype: str) -> MAERecEncoder:
    case = golden("baselines/maerec_forward")
    config, weights = case["config"], arrays(case["encoder_weights"] | case["recommender_weights"])
    adjacency = np.array(case["graphs"][0]["normalised_with_self_loops"])
    rows, columns = np.nonzero(adjacency)
    encoder = MAERecEncoder(
        config["item_rows"] - 2, len(rows) + 3, config["d"], config["L"], config["trm_layers"], config["heads"],
        config["gcn_layers"], dropout=0.0, dtype=dtype,
    )  # fmt: skip
    encoder.set_graph(rows, columns, adjacency[rows, columns])
    encoder.item_table.assign(weights.pop("item_emb"))
    encoder.position_table.assign(weights.pop("pos_emb"))
    set_norm(encoder.norm, weights, "LayerNorm")
    for number, block in enumerate(encoder.blocks):
        name = f"layers.{number}"
        for ours, theirs in (("query", "query"), ("key", "key"), ("value", "value"), ("output_projection", "dense")):
            set_dense(getattr(block, ours), weights, f"{name}.attention.{theirs}")
        set_norm(block.attention_norm, weights, f"{name}.attention.LayerNorm")
        set_dense(block.expand, weights, f"{name}.intermediate.layers.0")
        set_dense(block.contract, weights, f"{name}.intermediate.layers.2")
        set_norm(block.feedforward_norm, weights, f"{name}.intermediate.layers.4")
    assert not weights
    return encoder


@both_precisions
def test_maerec(dtype: str, tolerance: float) -> None:
    case, encoder = golden("baselines/maerec_forward"), maerec(dtype)
    close(encoder.item_vectors(), case["item_embeddings_after_gcn"], tolerance)
    items, targets, negatives = (np.array(case[name]) for name in ("inputs", "targets", "negatives"))
    outputs = encoder(items, everywhere=True)
    close(outputs.numpy()[items > 0], np.array(case["seq_output"])[items > 0], tolerance)
    close(encoder(items), outputs[:, -1], tolerance)
    table = encoder.item_vectors()
    scores = [tf.reduce_sum(outputs * tf.gather(table, ids), axis=-1) for ids in (targets, negatives)]
    places = tf.reshape(tf.constant(targets > 0), [-1])
    loss = binary_cross_entropy(tf.reshape(scores[0], [-1]), tf.reshape(scores[1], [-1, 1]), tf.cast(places, dtype))
    close(loss, case["bce_loss"], tolerance)


@both_precisions
def test_maerec_reconstruction(dtype: str, tolerance: float) -> None:
    case, encoder = golden("baselines/maerec_forward"), maerec(dtype)
    config, weights = case["config"], arrays(case["decoder_weights"])
    settings = MAERecConfig(dim=config["d"], num_heads=config["heads"], max_length=config["L"], num_positives=6)
    model = MAERec(settings, encoder.num_items, encoder)
    for layer, name in zip(model.decoder, ("MLP.0", "MLP.2", "MLP.4"), strict=True):
        set_dense(layer, weights, name)
    pairs = np.concatenate([np.array(case["positive_edges"])[:, None], np.array(case["negative_edges"])], axis=1)
    scores = model.edge_scores(encoder.propagated()[:2], tf.constant(pairs))
    close(edge_reconstruction(scores[:, 0], scores[:, 1:], released=True), case["decoder_loss"], tolerance)
    close(config["reg"] * model.squares(), case["reg_loss"], tolerance)
