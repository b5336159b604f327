"""Export a model and use the files in a program without tfcyclegan.

python examples/export_and_use.py [STEPS]
"""

import subprocess
import sys

import tfcyclegan
from tfcyclegan.export import export_model

steps = int(sys.argv[1]) if len(sys.argv) > 1 else 125
data = tfcyclegan.load_data("shapes", image_size=32, batch_size=4, steps_per_epoch=steps)
model = tfcyclegan.CycleGAN(image_size=32, filters=16, blocks=3)
model.compile(learning_rate=3e-4)
model.fit(data.train, epochs=1)
print(export_model(model, data, "exports/shapes").to_markdown())

USE = """
import sys
import numpy as np
import tensorflow as tf
from ai_edge_litert.interpreter import Interpreter

pixels = np.zeros((1, 32, 32, 3), np.float32)
on_device = Interpreter("exports/shapes/litert/AtoB-float32.tflite").get_signature_runner()
served = tf.saved_model.load("exports/shapes/serving/AtoB/1").signatures["serving_default"]
difference = on_device(images=pixels)["images"] - served(images=pixels)["images"]
print("largest difference", abs(difference.numpy()).max())
assert "tfcyclegan" not in sys.modules
"""
subprocess.run([sys.executable, "-c", USE], check=True)
