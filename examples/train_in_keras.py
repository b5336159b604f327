"""Train on the embedded data, translate its test pictures, save the model.

python examples/train_in_keras.py [STEPS]
"""

import sys

import keras

import tfcyclegan

steps = int(sys.argv[1]) if len(sys.argv) > 1 else 125

keras.utils.set_random_seed(0)
data = tfcyclegan.load_data("shapes", image_size=32, batch_size=4, steps_per_epoch=steps)
model = tfcyclegan.CycleGAN(image_size=32, filters=16, blocks=3, residual_output=True)
model.compile(learning_rate=3e-4, lambda_identity=0)
# ResumableState saves and restores everything: run the script again and training resumes.
model.fit(data.train, epochs=2, callbacks=[tfcyclegan.ResumableState("checkpoints", data)])

striped = model.translate(data.test_A)
plain = model.translate(data.test_B, direction="BtoA")
print(f"translated {len(striped)} + {len(plain)} pictures")
model.save("shapes.keras")
