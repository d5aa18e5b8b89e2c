"""Sites and the policies that cover them."""
