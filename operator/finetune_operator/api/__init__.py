"""The API of this project: models, conditions, reasons, and the custom resource definitions generated from them."""
