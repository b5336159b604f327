"""Fine-tune a saved model: load a .keras file, lower the learning rate, train on.

python examples/fine_tune.py [MODEL.keras [STEPS]]
"""

import sys
from pathlib import Path

import keras

import tfcyclegan

path = Path(sys.argv[1] if len(sys.argv) > 1 else "shapes.keras")
steps = int(sys.argv[2]) if len(sys.argv) > 2 else 125
data = tfcyclegan.load_data("shapes", image_size=32, batch_size=4, steps_per_epoch=steps)
if not path.exists():
    start = tfcyclegan.CycleGAN(image_size=32, filters=16, blocks=3)
    start.compile()
    start.save(path)

# load_model brings back optimizers and pools; `compile` starts with fresh optimizers.
model = keras.saving.load_model(path)
model.compile(learning_rate=5e-5, lambda_identity=0)
model.fit(data.train, epochs=1)
model.save("fine_tuned.keras")
print("saved fine_tuned.keras")
