"""The settings that data sets come with: the paper's, and the embedded set's."""

from __future__ import annotations

#: Sections 4 and 7 of the paper. Blocks follow the image size.
PAPER_RECIPE = {
    "image_size": 256,
    "batch_size": 1,
    "preprocess": "resize_and_crop",
    "filters": 64,
    "upsampling": "transposed",
    "residual_output": False,
    "discriminator_filters": 64,
    "discriminator_layers": 3,
    "lambda_identity": 0.5,
    "epochs": 200,
    "learning_rate": 2e-4,
}


#: Not the paper's: what of all that was tried shows the most in five minutes on two CPU cores.
EMBEDDED_RECIPE = {
    "image_size": 32,
    "batch_size": 4,
    "preprocess": "none",
    "filters": 32,
    "blocks": 3,
    "upsampling": "transposed",
    "residual_output": True,
    "discriminator_filters": 32,
    "discriminator_layers": 2,
    "lambda_identity": 0.0,
    "epochs": 18,
    "learning_rate": 3e-4,
}
